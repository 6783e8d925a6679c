// The tags that say how a stored value is to be read (ObjectValue::metadata), and the values that
// stand for failures. The first character is the kind:
//
//   v  a plain value in rayc's own encoding (python/rayc/includes/serialization.pxi)
//   b  the bytes themselves
//   p  pickle protocol 5 with its buffers
//   t  a task raised: the pickled RayTaskError
//   a  an actor's constructor raised: ActorId (16 bytes), then the pickled RayTaskError
//   s  a failure of the system: "s<StatusCode>"; the data is a text for people
//   d  an actor is gone or out of reach: "d<StatusCode>"; ActorId (16 bytes), then a text
#pragma once

#include <string>
#include <string_view>

#include "common/buffer.h"
#include "common/ids.h"
#include "common/status.h"

namespace rayc::core_worker {

inline constexpr char kPlainTag = 'v';
inline constexpr char kRawTag = 'b';
inline constexpr char kPickleTag = 'p';
inline constexpr char kTaskErrorTag = 't';
inline constexpr char kActorInitErrorTag = 'a';
inline constexpr char kSystemErrorTag = 's';
inline constexpr char kActorErrorTag = 'd';

// Values up to this size travel in messages and live in their owner's memory; larger ones in
// plasma.
inline constexpr size_t kInlineBytesMax = 100UL << 10;

inline bool IsErrorMetadata(std::string_view metadata) {
  const char kind = metadata.empty() ? '\0' : metadata[0];
  return kind == kTaskErrorTag || kind == kActorInitErrorTag || kind == kSystemErrorTag ||
         kind == kActorErrorTag;
}

inline ObjectValue MakeErrorValue(const Status& status) {
  return {HeapBuffer::Copy(status.message()),
          std::string(1, kSystemErrorTag) + std::to_string(static_cast<int>(status.code()))};
}

inline ObjectValue MakeActorErrorValue(const Status& status, const ActorId& actor) {
  return {HeapBuffer::Copy(std::string(actor.Binary()) + status.message()),
          std::string(1, kActorErrorTag) + std::to_string(static_cast<int>(status.code()))};
}

inline ObjectValue MakeActorInitErrorValue(std::string_view pickled_error, const ActorId& actor) {
  return {HeapBuffer::Copy(std::string(actor.Binary()) + std::string(pickled_error)),
          std::string(1, kActorInitErrorTag)};
}

}  // namespace rayc::core_worker
