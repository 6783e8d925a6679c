#include "plasma/client_pins.h"

namespace rayc::plasma {

std::optional<uint32_t> ClientPins::Set(EntryRef ref) {
  const MutexLock lock(mutex_);
  uint32_t place = 0;
  if (!free_.empty()) {
    place = free_.back();
    free_.pop_back();
  } else if (next_ < ClientSegment::kPinsMax) {
    place = next_++;
  } else {
    return std::nullopt;
  }
  segment_->SetPin(place, ref);
  return place;
}

void ClientPins::Clear(uint32_t place) {
  const MutexLock lock(mutex_);
  segment_->ClearPin(place);
  free_.push_back(place);
}

}  // namespace rayc::plasma
