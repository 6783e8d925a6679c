#include "common/ids.h"

#include <pthread.h>
#include <sys/random.h>

#include <algorithm>

#include "common/logging.h"

namespace rayc {
namespace {

// Random bytes bought in bulk: one system call for about a hundred ids.
struct RandomPool {
  std::array<uint8_t, 1024> bytes;
  size_t used = sizeof(bytes);
};

thread_local RandomPool random_pool;

// A forked child must not hand out the ids that its parent is about to. Only the forking thread
// lives on in the child, so only its pool matters.
void DropPoolAfterFork() { random_pool.used = random_pool.bytes.size(); }

const int fork_hook = pthread_atfork(nullptr, nullptr, DropPoolAfterFork);

void FillFromKernel(uint8_t* data, size_t bytes) {
  while (bytes > 0) {
    const ssize_t got = getrandom(data, bytes, 0);
    if (got < 0) {
      RAYC_CHECK(errno == EINTR) << "getrandom failed, errno " << errno;
      continue;
    }
    data += got;
    bytes -= static_cast<size_t>(got);
  }
}

constexpr char kHexDigits[] = "0123456789abcdef";

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

void FillRandom(void* data, size_t bytes) {
  (void)fork_hook;
  auto* out = static_cast<uint8_t*>(data);
  RandomPool& pool = random_pool;
  if (bytes > pool.bytes.size()) {
    FillFromKernel(out, bytes);
    return;
  }
  if (pool.bytes.size() - pool.used < bytes) {
    FillFromKernel(pool.bytes.data(), pool.bytes.size());
    pool.used = 0;
  }
  std::memcpy(out, pool.bytes.data() + pool.used, bytes);
  pool.used += bytes;
}

std::string BytesToHex(std::string_view bytes) {
  std::string hex;
  hex.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    hex.push_back(kHexDigits[byte >> 4]);
    hex.push_back(kHexDigits[byte & 15]);
  }
  return hex;
}

Result<std::string> HexToBytes(std::string_view hex) {
  if (hex.size() % 2 != 0) {
    return Err(Status::InvalidArgument("a hex string has an even number of digits"));
  }
  std::string bytes;
  bytes.reserve(hex.size() / 2);
  for (size_t i = 0; i < hex.size(); i += 2) {
    const int high = HexValue(hex[i]);
    const int low = HexValue(hex[i + 1]);
    if (high < 0 || low < 0) {
      return Err(Status::InvalidArgument("not a hex digit at position " + std::to_string(i)));
    }
    bytes.push_back(static_cast<char>(high << 4 | low));
  }
  return bytes;
}

JobId JobId::FromInt(uint32_t value) {
  JobId id;
  for (size_t i = 0; i < kSize; ++i) {
    id.bytes_[i] = static_cast<uint8_t>(value >> (8 * (kSize - 1 - i)));
  }
  return id;
}

uint32_t JobId::ToInt() const {
  uint32_t value = 0;
  for (const uint8_t byte : bytes_) {
    value = value << 8 | byte;
  }
  return value;
}

ActorId ActorId::Of(const JobId& job) {
  ActorId id = FromRandom();
  std::copy_n(job.data(), JobId::kSize, id.bytes_.end() - JobId::kSize);
  return id;
}

ActorId ActorId::NilOf(const JobId& job) {
  ActorId id;
  std::copy_n(job.data(), JobId::kSize, id.bytes_.end() - JobId::kSize);
  return id;
}

JobId ActorId::Job() const { return JobId::FromBinary(Binary().substr(kSize - JobId::kSize)); }

bool ActorId::IsActor() const {
  return !std::all_of(bytes_.begin(), bytes_.end() - JobId::kSize,
                      [](uint8_t byte) { return byte == 0xff; });
}

namespace {

TaskId MakeTaskId(const ActorId& actor, uint64_t unique) {
  char bytes[TaskId::kSize];
  std::memcpy(bytes, &unique, 8);
  std::memcpy(bytes + 8, actor.data(), ActorId::kSize);
  return TaskId::FromBinary({bytes, sizeof(bytes)});
}

constexpr uint64_t kCreationUnique = ~0ULL;
constexpr uint64_t kDriverUnique = 0;

uint64_t RandomUnique() {
  uint64_t unique = 0;
  do {
    FillRandom(&unique, sizeof(unique));
  } while (unique == kCreationUnique || unique == kDriverUnique);
  return unique;
}

}  // namespace

TaskId TaskId::ForNormalTask(const JobId& job) {
  return MakeTaskId(ActorId::NilOf(job), RandomUnique());
}
TaskId TaskId::ForActorTask(const ActorId& actor) { return MakeTaskId(actor, RandomUnique()); }
TaskId TaskId::ForActorCreation(const ActorId& actor) { return MakeTaskId(actor, kCreationUnique); }
TaskId TaskId::ForDriver(const JobId& job) {
  return MakeTaskId(ActorId::NilOf(job), kDriverUnique);
}
ActorId TaskId::Actor() const { return ActorId::FromBinary(Binary().substr(8)); }
JobId TaskId::Job() const { return Actor().Job(); }

namespace {

ObjectId MakeObjectId(const TaskId& task, uint32_t index) {
  char bytes[ObjectId::kSize];
  std::memcpy(bytes, task.data(), TaskId::kSize);
  for (size_t i = 0; i < 4; ++i) {
    bytes[TaskId::kSize + i] = static_cast<char>(index >> (8 * i));
  }
  return ObjectId::FromBinary({bytes, sizeof(bytes)});
}

}  // namespace

ObjectId ObjectId::ForReturn(const TaskId& task, uint32_t index) {
  return MakeObjectId(task, index);
}
ObjectId ObjectId::ForPut(const TaskId& task, uint32_t put_index) {
  return MakeObjectId(task, kPutIndexBase + put_index);
}
ObjectId ObjectId::ForActorHandle(const ActorId& actor) {
  return MakeObjectId(TaskId::ForActorCreation(actor), 1);
}
TaskId ObjectId::Task() const { return TaskId::FromBinary(Binary().substr(0, TaskId::kSize)); }
uint32_t ObjectId::Index() const {
  uint32_t index = 0;
  for (size_t i = 0; i < 4; ++i) {
    index |= static_cast<uint32_t>(bytes_[TaskId::kSize + i]) << (8 * i);
  }
  return index;
}
bool ObjectId::IsActorHandle() const {
  uint64_t unique = 0;
  std::memcpy(&unique, bytes_.data(), 8);
  return unique == kCreationUnique && Task().Actor().IsActor();
}

PlacementGroupId PlacementGroupId::Of(const JobId& job) {
  PlacementGroupId id = FromRandom();
  std::copy_n(job.data(), JobId::kSize, id.bytes_.end() - JobId::kSize);
  return id;
}
JobId PlacementGroupId::Job() const {
  return JobId::FromBinary(Binary().substr(kSize - JobId::kSize));
}

}  // namespace rayc
