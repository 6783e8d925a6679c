// Seeded storms of broken bytes against a live server of frames.
#pragma once

#include <cstdlib>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "fakes/raw_peer.h"

namespace rayc::testing {

// Fixed, so that a failure repeats; RAYC_FUZZ_SEED tries others.
inline uint64_t FuzzSeed() {
  const char* text = std::getenv("RAYC_FUZZ_SEED");
  return text == nullptr ? 20'240'613 : std::strtoull(text, nullptr, 10);
}

class Fuzzer {
 public:
  // `samples` are whole frames of messages that the server knows.
  Fuzzer(std::string path, std::vector<std::string> samples)
      : path_(std::move(path)), samples_(std::move(samples)), random_(FuzzSeed()) {}

  // Sends about that many broken frames over many connections.
  void Run(int frames) {
    while (frames > 0) {
      RawPeer peer = RawPeer::ConnectedTo(path_);
      if (Below(10) > 0 && !peer.Write(HelloBytes())) {
        continue;
      }
      const int count = 1 + Below(20);
      for (int i = 0; i < count && peer.Write(Frame()); ++i) {
        --frames;
      }
      --frames;
      peer.Drain();
    }
  }

 private:
  int Below(int limit) { return static_cast<int>(random_() % static_cast<uint64_t>(limit)); }
  std::string Random(int bytes_max) {
    std::string bytes(static_cast<size_t>(Below(bytes_max + 1)), '\0');
    for (char& byte : bytes) {
      byte = static_cast<char>(random_());
    }
    return bytes;
  }

  std::string Frame() {
    std::string frame = samples_[static_cast<size_t>(Below(static_cast<int>(samples_.size())))];
    switch (Below(8)) {
      case 0:  // noise
        return Random(200);
      case 1: {  // a header of a known method, and noise
        frame.resize(sizeof(FrameHeader));
        const std::string payload = Random(120);
        const auto bytes = static_cast<uint32_t>(payload.size());
        std::memcpy(frame.data(), &bytes, sizeof(bytes));
        return frame + payload + std::string(PaddedPayloadBytes(bytes) - bytes, '\0');
      }
      case 2:  // cut off; the next frame then begins inside it
        frame.resize(static_cast<size_t>(Below(static_cast<int>(frame.size()))));
        return frame;
      case 3:  // any byte of the header
        frame[static_cast<size_t>(Below(sizeof(FrameHeader)))] = static_cast<char>(random_());
        return frame;
      case 4:  // whole
        return frame;
      default: {  // some bytes of the payload; small and large values, which offsets are made of
        const int changes = 1 + Below(6);
        const auto payload = static_cast<int>(frame.size() - sizeof(FrameHeader));
        for (int i = 0; i < changes && payload > 0; ++i) {
          constexpr char kNasty[] = {0, 1, 4, 8, 127, -128, -1, -4};
          frame[sizeof(FrameHeader) + static_cast<size_t>(Below(payload))] =
              Below(2) == 0 ? kNasty[Below(sizeof(kNasty))] : static_cast<char>(random_());
        }
        return frame;
      }
    }
  }

  const std::string path_;
  const std::vector<std::string> samples_;
  std::mt19937_64 random_;
};

}  // namespace rayc::testing
