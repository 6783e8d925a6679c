// What two processes of a node share for one channel: a ring each way, and the bell of the other
// side.
//
//   memory    a page with the control blocks, then the data of both rings; a page that nothing was
//             written to takes no memory
//
// Life: the side that connected makes it (kRingOffer, with descriptors), the other maps it and
// writes into its ring from then on (kRingAccept), as does the first after that (kRingStart). All
// of these go by the socket: they mark the place in the stream where it continues in the ring.
#pragma once

#include <cstdint>
#include <memory>

#include "common/doorbell.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "rpc/ring.h"

namespace rayc::rpc {

class RingLink {
 public:
  static Result<std::unique_ptr<RingLink>> Make();
  // As the other side has made it.
  static Result<std::unique_ptr<RingLink>> Map(UniqueFd memory);
  ~RingLink();
  RingLink(const RingLink&) = delete;
  RingLink& operator=(const RingLink&) = delete;

  int memory_fd() const { return fd_.get(); }
  void ForgetMemoryFd() { fd_.Reset(); }  // the mapping stays
  // The bell of the other side, and our number there.
  void SetPeer(std::unique_ptr<PeerDoorbell> doorbell, uint32_t slot) {
    doorbell_ = std::move(doorbell);
    peer_slot_ = slot;
  }
  void RingPeer() { doorbell_->Ring(peer_slot_); }

  RingWriter& writer() { return writer_; }
  RingReader& reader() { return reader_; }

 private:
  RingLink(UniqueFd fd, uint8_t* base, bool is_maker);

  UniqueFd fd_;
  uint8_t* base_;
  RingWriter writer_;
  RingReader reader_;
  std::unique_ptr<PeerDoorbell> doorbell_;
  uint32_t peer_slot_ = 0;
};

}  // namespace rayc::rpc
