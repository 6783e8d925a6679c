// What the typed clients (gcs_client.h, raylet_client.h, worker_client.h) have in common: an
// abstract class says what can be asked, a Wire... class asks it over a Channel, and tests put a
// fake in its place. Calls from any thread; callbacks run on the channel's loop thread, exactly
// once, with kDisconnected when the connection ends first. A reply table lives during its callback
// only.
#pragma once

#include <functional>
#include <string_view>
#include <utility>

#include "rpc/channel.h"
#include "rpc/convert.h"

namespace rayc::rpc {

template <typename T>
using Callback = std::function<void(Result<T>)>;
template <typename Table>
using TableCallback = std::function<void(Result<const Table*>)>;
using StatusCallback = std::function<void(Status)>;

// The wire side of every typed client.
class WireClient {
 public:
  explicit WireClient(ChannelPtr channel) : channel_(std::move(channel)) {}
  const ChannelPtr& channel() const { return channel_; }

 protected:
  template <typename NativeRequest>
  void CallStatus(Method method, const NativeRequest& request, StatusCallback callback) {
    channel_->Call<fb::Empty>(method, request,
                              [callback = std::move(callback)](Result<const fb::Empty*> reply) {
                                callback(reply ? Status::Ok() : reply.error());
                              });
  }
  // `take(const ReplyTable&)` makes the value that the callback gets.
  template <typename ReplyTable, typename T, typename NativeRequest, typename Take>
  void CallValue(Method method, const NativeRequest& request, Take take, Callback<T> callback) {
    channel_->Call<ReplyTable>(
        method, request,
        [take = std::move(take), callback = std::move(callback)](Result<const ReplyTable*> reply) {
          if (!reply) {
            callback(Err(reply.error()));
            return;
          }
          callback(take(**reply));
        });
  }
  // Closing twice is nothing; calls that wait for their reply fail with kDisconnected.
  void CloseChannel() { channel_->Close(Status(StatusCode::kShutdown, "closed by its client")); }

  const ChannelPtr channel_;
};

}  // namespace rayc::rpc
