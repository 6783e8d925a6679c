// For tests: a store in a folder of its own, its loop in a thread of the test.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "common/event_loop.h"
#include "plasma/client.h"
#include "plasma/store.h"

namespace rayc::plasma {

class StoreHost {
 public:
  StoreHost() {
    char folder[] = "/tmp/rayc-plasma-test-XXXXXX";
    folder_ = ::mkdtemp(folder);
  }
  ~StoreHost() {
    Stop();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  StoreHost(const StoreHost&) = delete;
  StoreHost& operator=(const StoreHost&) = delete;

  std::string socket_path() const { return folder_ + "/plasma"; }
  std::string spill_folder() const { return folder_ + "/spilled"; }

  Store* store() { return store_.get(); }  // null while it is not running

  void Start(StoreOptions options) {
    loop_ = std::make_unique<EventLoop>();
    options.socket_path = socket_path();
    store_ = std::make_unique<Store>(*loop_, options);
    const Status status = store_->Start();
    ASSERT_TRUE(status.ok()) << status;
    thread_ = std::thread([this] { loop_->Run(); });
  }

  void Stop() {
    if (store_ == nullptr) {
      return;
    }
    OnLoop([&] { store_->Shutdown(); });
    loop_->Stop();
    thread_.join();
    store_.reset();
    loop_.reset();
  }

  void OnLoop(const std::function<void()>& function) {
    std::promise<void> done;
    loop_->Post([&] {
      function();
      done.set_value();
    });
    done.get_future().wait();
  }
  template <typename Value>
  Value Ask(const std::function<Value(Store&)>& question) {
    Value value{};
    OnLoop([&] { value = question(*store_); });
    return value;
  }
  std::string CheckInvariants() {
    return Ask<std::string>([](Store& store) { return store.CheckInvariants(); });
  }
  std::string Describe() {
    return Ask<std::string>([](Store& store) { return store.Describe(); });
  }
  bool Eventually(const std::function<bool(Store&)>& holds) {
    for (int i = 0; i < 20000; ++i) {
      if (Ask<bool>(holds)) {
        return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }

  std::shared_ptr<Client> Connect() const {
    auto client = Client::Connect(socket_path());
    EXPECT_TRUE(client) << client.error();
    return client ? *client : nullptr;
  }

 private:
  std::string folder_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Store> store_;
  std::thread thread_;
};

}  // namespace rayc::plasma
