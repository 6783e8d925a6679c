// An event loop with a thread of its own, for tests of what lives on one.
#pragma once

#include <chrono>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>
#include <utility>

#include "common/event_loop.h"
#include "common/status.h"

namespace rayc::testing {

class LoopThread {
 public:
  LoopThread() : thread_([this] { loop_.Run(); }) {}
  ~LoopThread() { Join(); }
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;

  EventLoop& loop() { return loop_; }
  // Runs it on the loop's thread and waits for its end.
  template <typename Function>
  void Run(Function function) {
    std::promise<void> done;
    loop_.Post([&] {
      function();
      done.set_value();
    });
    done.get_future().wait();
  }
  void Join() {
    if (thread_.joinable()) {
      loop_.Stop();
      thread_.join();
    }
  }

 private:
  EventLoop loop_;
  std::thread thread_;
};

// Starts an asynchronous call with a callback that takes a T, and waits for it. A call that is
// never answered fails, late, instead of hanging the test.
template <typename T, typename Start>
T Await(Start start) {
  auto promise = std::make_shared<std::promise<T>>();
  auto future = promise->get_future();
  start([promise](T value) { promise->set_value(std::move(value)); });
  if (future.wait_for(std::chrono::seconds(30)) != std::future_status::ready) {
    throw std::runtime_error("no answer within 30 seconds");
  }
  return future.get();
}

// Waits until `condition` holds, at most 30 seconds.
template <typename Condition>
bool Eventually(Condition condition) {
  for (int i = 0; i < 30'000; ++i) {
    if (condition()) {
      return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

}  // namespace rayc::testing
