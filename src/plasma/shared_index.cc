#include "plasma/shared_index.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>
#include <vector>

#include "common/shared_memory.h"
#include "plasma/step_point.h"

namespace rayc::plasma {
namespace {

constexpr uint64_t kMagic = 0x7261796370696478;  // "raycpidx"
constexpr uint64_t kAlignment = 64;
constexpr uint32_t kEntriesMin = 1U << 16;
constexpr uint32_t kEntriesMax = 1U << 24;
constexpr uint32_t kBucketsMin = 1U << 12;
constexpr uint32_t kBucketsMax = 1U << 20;
constexpr uint64_t kArenaBytesPerEntry = 256;
constexpr uint64_t kArenaBytesPerBucket = 16U << 10;
// Chains of a full table are far shorter: one that is longer goes round in a circle.
constexpr uint32_t kChainMax = 1U << 16;
constexpr uint32_t kFindAttemptsMax = 1000;

constexpr uint32_t kDeadOwnerSets = 512;
constexpr uint32_t kDeadOwnersPerSet = 8;

constexpr uint32_t kHasWaiters = 1;

uint32_t HeadOf(uint64_t bucket) { return static_cast<uint32_t>(bucket); }
uint32_t VersionOf(uint64_t bucket) { return static_cast<uint32_t>(bucket >> 32); }
uint64_t MakeBucket(uint32_t version, uint32_t head) {
  return head | (static_cast<uint64_t>(version) << 32);
}

template <typename IdType>
void StoreId(SharedBytes<32>& to, const IdType& id) {
  static_assert(IdType::kSize <= 32);
  to.Store(id.data(), IdType::kSize);
}

template <typename IdType>
IdType LoadId(const SharedBytes<32>& from) {
  char bytes[IdType::kSize];
  from.Load(bytes, sizeof(bytes));
  return IdType::FromBinary({bytes, sizeof(bytes)});
}

uint64_t NowNs() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000ULL + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

template <size_t kBytes>
void SharedBytes<kBytes>::Store(const void* from, size_t bytes) {
  const auto* source = static_cast<const uint8_t*>(from);
  for (auto& word : words_) {
    uint64_t value = 0;
    const size_t part = std::min(bytes, sizeof(value));
    std::memcpy(&value, source, part);
    word.store(value, std::memory_order_release);
    source += part;
    bytes -= part;
    if (bytes == 0) {
      return;
    }
  }
}

template <size_t kBytes>
void SharedBytes<kBytes>::Load(void* to, size_t bytes) const {
  auto* target = static_cast<uint8_t*>(to);
  for (const auto& word : words_) {
    if (bytes == 0) {
      return;
    }
    const uint64_t value = word.load(std::memory_order_acquire);
    const size_t part = std::min(bytes, sizeof(value));
    std::memcpy(target, &value, part);
    target += part;
    bytes -= part;
  }
}

template class SharedBytes<32>;
template class SharedBytes<Entry::kInlineMetadataBytes>;

// Padded so that what changes often shares its line with nothing.
struct SharedIndex::Header {  // NOLINT(clang-analyzer-optin.performance.Padding)
  uint64_t magic;
  uint32_t entry_capacity;
  uint32_t bucket_count;
  alignas(64) std::atomic<uint32_t> subscribed;
  alignas(64) std::atomic<uint32_t> work_pending;
  struct alignas(64) Doorbell {
    std::atomic<uint32_t> word;  // a sequence number, whose lowest bit says that somebody waits
  };
  Doorbell doorbells[kDoorbells];
  struct alignas(64) DeadOwners {
    std::atomic<uint64_t> hashes[kDeadOwnersPerSet];
  };
  DeadOwners dead_owners[kDeadOwnerSets];
  std::atomic<uint32_t> next_dead_owner[kDeadOwnerSets];
};

SharedIndex::SharedIndex(UniqueFd fd, uint8_t* base, uint64_t bytes)
    : fd_(std::move(fd)), base_(base), bytes_(bytes) {}

SharedIndex::~SharedIndex() { UnmapSharedMemory(base_, bytes_); }

uint64_t SharedIndex::BytesFor(uint32_t entries, uint32_t buckets) {
  return ((sizeof(Header) + 63) & ~uint64_t{63}) + buckets * sizeof(uint64_t) +
         static_cast<uint64_t>(entries) * sizeof(Entry);
}

void SharedIndex::SetPointers(uint32_t entries, uint32_t buckets) {
  entry_capacity_ = entries;
  bucket_count_ = buckets;
  header_ = reinterpret_cast<Header*>(base_);
  uint8_t* const behind_header = base_ + ((sizeof(Header) + 63) & ~uint64_t{63});
  buckets_ = reinterpret_cast<std::atomic<uint64_t>*>(behind_header);
  entries_ = reinterpret_cast<Entry*>(behind_header + buckets * sizeof(uint64_t));
}

Result<std::shared_ptr<SharedIndex>> SharedIndex::Create(uint64_t arena_bytes) {
  const auto entries = static_cast<uint32_t>(
      std::clamp<uint64_t>(arena_bytes / kArenaBytesPerEntry, kEntriesMin, kEntriesMax));
  const auto buckets = static_cast<uint32_t>(std::bit_ceil(
      std::clamp<uint64_t>(arena_bytes / kArenaBytesPerBucket, kBucketsMin, kBucketsMax)));
  auto memory = MakeSharedMemory("rayc-plasma-index", BytesFor(entries, buckets));
  if (!memory) {
    return Err(memory.error());
  }
  std::shared_ptr<SharedIndex> index(
      new SharedIndex(std::move(memory->fd), memory->base, memory->bytes));
  index->SetPointers(entries, buckets);
  index->header_->magic = kMagic;
  index->header_->entry_capacity = entries;
  index->header_->bucket_count = buckets;
  return index;
}

Result<std::shared_ptr<SharedIndex>> SharedIndex::Map(UniqueFd fd) {
  auto memory = MapSharedMemory(std::move(fd), sizeof(Header));
  if (!memory) {
    return Err(memory.error());
  }
  std::shared_ptr<SharedIndex> index(new SharedIndex(UniqueFd(), memory->base, memory->bytes));
  const auto* header = reinterpret_cast<const Header*>(memory->base);
  const uint32_t entries = header->entry_capacity;
  const uint32_t buckets = header->bucket_count;
  if (header->magic != kMagic || !std::has_single_bit(buckets) || buckets > kBucketsMax ||
      entries > kEntriesMax || BytesFor(entries, buckets) > memory->bytes) {
    return Err(Status::Internal("the object store's index is damaged"));
  }
  index->SetPointers(entries, buckets);
  return index;
}

uint64_t SharedIndex::ExtentBytes(uint64_t data_bytes, uint64_t metadata_bytes) {
  uint64_t bytes = data_bytes;
  if (metadata_bytes > Entry::kInlineMetadataBytes) {
    bytes = ((data_bytes + 7) & ~uint64_t{7}) + metadata_bytes;
  }
  return std::max(kAlignment, (bytes + kAlignment - 1) & ~(kAlignment - 1));
}

std::atomic<uint64_t>& SharedIndex::BucketOf(const ObjectId& id) const {
  return buckets_[id.Hash() & (bucket_count_ - 1)];
}

std::atomic<uint32_t>& SharedIndex::DoorbellOf(const ObjectId& id) const {
  return header_->doorbells[(id.Hash() >> 32) % kDoorbells].word;
}

EntryRef SharedIndex::Fill(uint32_t number, uint32_t maker, const ObjectId& id,
                           const WorkerId& owner, uint64_t offset, uint64_t data_bytes,
                           std::string_view metadata, int32_t pid, bool evictable) const {
  Entry& entry = entries_[number];
  const auto old = EntryWord::Unpack(entry.word.load(std::memory_order_relaxed));
  uint32_t generation = old.generation + 1;
  if (generation == 0) {
    generation = 1;
  }
  // Release: whoever reads one of these values and then the word again sees that it was free.
  StoreId(entry.id, id);
  StoreId(entry.owner, owner);
  entry.offset.store(offset, std::memory_order_release);
  entry.data_bytes.store(data_bytes, std::memory_order_release);
  entry.metadata_bytes.store(static_cast<uint32_t>(metadata.size()), std::memory_order_release);
  entry.made_by_pid.store(pid, std::memory_order_release);
  entry.flags.store(evictable ? Entry::kEvictable : 0, std::memory_order_release);
  entry.last_used_ns.store(NowNs(), std::memory_order_release);
  if (!metadata.empty() && metadata.size() <= Entry::kInlineMetadataBytes) {
    entry.metadata.Store(metadata.data(), metadata.size());
  }
  StepPoint("entry filled, not claimed");
  entry.word.store(EntryWord{EntryState::kCreating, maker, generation}.Pack(),
                   std::memory_order_seq_cst);
  StepPoint("entry claimed, not linked");
  return {number, generation};
}

Status SharedIndex::Insert(uint32_t number, const ObjectId& id, uint32_t* existing) const {
  std::atomic<uint64_t>& bucket = BucketOf(id);
  while (true) {
    uint64_t head = bucket.load(std::memory_order_seq_cst);
    uint32_t steps = 0;
    for (uint32_t next = HeadOf(head); next != 0;) {
      if (next > entry_capacity_ || ++steps > kChainMax) {
        if (bucket.load(std::memory_order_seq_cst) != head) {
          break;  // it was changed under us
        }
        return Status::Internal("the object store's index is damaged");
      }
      const Entry& entry = entries_[next - 1];
      if (next - 1 != number && WordOf(next - 1).present() && LoadId<ObjectId>(entry.id) == id) {
        if (bucket.load(std::memory_order_seq_cst) != head) {
          break;
        }
        *existing = next - 1;
        return Status::AlreadyExists("object " + id.Hex() + " exists already");
      }
      next = entry.next.load(std::memory_order_acquire);
    }
    entries_[number].next.store(HeadOf(head), std::memory_order_release);
    StepPoint("entry points into the chain, not linked");
    if (bucket.compare_exchange_strong(head, MakeBucket(VersionOf(head), number + 1),
                                       std::memory_order_seq_cst)) {
      StepPoint("entry linked");
      return Status::Ok();
    }
  }
}

std::optional<EntryRef> SharedIndex::Find(const ObjectId& id) const {
  const std::atomic<uint64_t>& bucket = BucketOf(id);
  for (uint32_t attempt = 0; attempt < kFindAttemptsMax; ++attempt) {
    const uint64_t head = bucket.load(std::memory_order_seq_cst);
    uint32_t steps = 0;
    for (uint32_t next = HeadOf(head); next != 0 && next <= entry_capacity_;) {
      if (++steps > kChainMax) {
        break;
      }
      const Entry& entry = entries_[next - 1];
      const EntryWord word = WordOf(next - 1);
      if (word.present() && LoadId<ObjectId>(entry.id) == id &&
          WordOf(next - 1).generation == word.generation) {
        return EntryRef{next - 1, word.generation};
      }
      next = entry.next.load(std::memory_order_acquire);
    }
    if (VersionOf(bucket.load(std::memory_order_seq_cst)) == VersionOf(head)) {
      return std::nullopt;
    }
  }
  return std::nullopt;
}

bool SharedIndex::Unlink(uint32_t number, const ObjectId& id) const {
  std::atomic<uint64_t>& bucket = BucketOf(id);
  const uint32_t link = number + 1;
  while (true) {
    uint64_t head = bucket.load(std::memory_order_seq_cst);
    const uint32_t behind = entries_[number].next.load(std::memory_order_acquire);
    if (HeadOf(head) == link) {
      if (bucket.compare_exchange_strong(head, MakeBucket(VersionOf(head) + 1, behind),
                                         std::memory_order_seq_cst)) {
        return true;
      }
      continue;
    }
    uint32_t steps = 0;
    uint32_t before = HeadOf(head);
    while (before != 0 && before <= entry_capacity_ && ++steps <= kChainMax) {
      const uint32_t next = entries_[before - 1].next.load(std::memory_order_acquire);
      if (next == link) {
        break;
      }
      before = next;
    }
    if (before == 0 || before > entry_capacity_ || steps > kChainMax) {
      return false;
    }
    // Inserting touches the head alone, so `before` stays in the chain.
    entries_[before - 1].next.store(behind, std::memory_order_seq_cst);
    while (!bucket.compare_exchange_weak(head, MakeBucket(VersionOf(head) + 1, HeadOf(head)),
                                         std::memory_order_seq_cst)) {
    }
    return true;
  }
}

bool SharedIndex::Kill(EntryRef ref) const {
  while (true) {
    const EntryWord word = WordOf(ref.entry);
    if (word.generation != ref.generation || !word.present()) {
      return false;
    }
    const bool creating = word.state == EntryState::kCreating;
    if (Change(ref.entry, word, word.With(creating ? EntryState::kDoomed : EntryState::kDead))) {
      return !creating;
    }
  }
}

std::optional<ObjectRecord> SharedIndex::Read(uint32_t number, uint64_t arena_bytes) const {
  const Entry& entry = entries_[number];
  ObjectRecord record;
  record.word = EntryWord::Unpack(entry.word.load(std::memory_order_seq_cst));
  record.ref = {number, record.word.generation};
  if (record.word.state == EntryState::kFree || record.word.state > EntryState::kDead) {
    return std::nullopt;
  }
  record.id = LoadId<ObjectId>(entry.id);
  record.owner = LoadId<WorkerId>(entry.owner);
  record.offset = entry.offset.load(std::memory_order_acquire);
  record.data_bytes = entry.data_bytes.load(std::memory_order_acquire);
  record.metadata_bytes = entry.metadata_bytes.load(std::memory_order_acquire);
  record.made_by_pid = entry.made_by_pid.load(std::memory_order_acquire);
  record.last_used_ns = entry.last_used_ns.load(std::memory_order_acquire);
  record.evictable = (entry.flags.load(std::memory_order_acquire) & Entry::kEvictable) != 0;
  if (WordOf(number) != record.word) {
    return std::nullopt;
  }
  if (record.data_bytes > arena_bytes || record.metadata_bytes > kMetadataBytesMax ||
      record.offset % kAlignment != 0 || record.offset > arena_bytes ||
      ExtentBytes(record.data_bytes, record.metadata_bytes) > arena_bytes - record.offset) {
    return std::nullopt;
  }
  return record;
}

void SharedIndex::Touch(uint32_t entry) const {
  entries_[entry].last_used_ns.store(NowNs(), std::memory_order_relaxed);
}

bool SharedIndex::OwnerIsDead(const WorkerId& owner) const {
  if (owner.IsNil()) {
    return false;
  }
  const uint64_t hash = owner.Hash() | 1;  // 0 is an empty place
  for (const auto& place : header_->dead_owners[(hash >> 32) % kDeadOwnerSets].hashes) {
    if (place.load(std::memory_order_seq_cst) == hash) {
      return true;
    }
  }
  return false;
}

void SharedIndex::NoteDeadOwner(const WorkerId& owner) const {
  const uint64_t hash = owner.Hash() | 1;
  const auto set = static_cast<uint32_t>((hash >> 32) % kDeadOwnerSets);
  const uint32_t place =
      header_->next_dead_owner[set].fetch_add(1, std::memory_order_relaxed) % kDeadOwnersPerSet;
  header_->dead_owners[set].hashes[place].store(hash, std::memory_order_seq_cst);
}

uint32_t SharedIndex::ArmDoorbell(const ObjectId& id) const {
  return DoorbellOf(id).fetch_or(kHasWaiters, std::memory_order_seq_cst) | kHasWaiters;
}

Status SharedIndex::WaitForDoorbell(const ObjectId& id, uint32_t armed, int64_t timeout_ms) const {
  timespec timeout{};
  timeout.tv_sec = timeout_ms / 1000;
  timeout.tv_nsec = (timeout_ms % 1000) * 1'000'000;
  // Not a private futex: it is shared between processes.
  const long result = ::syscall(SYS_futex, reinterpret_cast<uint32_t*>(&DoorbellOf(id)), FUTEX_WAIT,
                                armed, timeout_ms < 0 ? nullptr : &timeout, nullptr, 0);
  if (result == 0 || errno == EAGAIN) {
    return Status::Ok();
  }
  if (errno == ETIMEDOUT) {
    return {StatusCode::kTimedOut, "the object did not come in time"};
  }
  return errno == EINTR ? Status::Interrupted("a signal arrived")
                        : Status::FromErrno("futex", errno);
}

namespace {

void RingWord(std::atomic<uint32_t>& word) {
  uint32_t value = word.load(std::memory_order_seq_cst);
  while ((value & kHasWaiters) != 0) {
    if (word.compare_exchange_weak(value, value + 1, std::memory_order_seq_cst)) {
      ::syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE, INT_MAX, nullptr,
                nullptr, 0);
      return;
    }
  }
}

}  // namespace

void SharedIndex::Ring(const ObjectId& id) const { RingWord(DoorbellOf(id)); }

void SharedIndex::RingAll() const {
  for (auto& doorbell : header_->doorbells) {
    RingWord(doorbell.word);
  }
}

bool SharedIndex::subscribed() const {
  return header_->subscribed.load(std::memory_order_seq_cst) != 0;
}
void SharedIndex::SetSubscribed(bool on) const {
  header_->subscribed.store(on ? 1 : 0, std::memory_order_seq_cst);
}

bool SharedIndex::SetWorkPending() const {
  // Reading first keeps the line shared while many clients find it set.
  return header_->work_pending.load(std::memory_order_seq_cst) == 0 &&
         header_->work_pending.exchange(1, std::memory_order_seq_cst) == 0;
}
void SharedIndex::ClearWorkPending() const {
  header_->work_pending.store(0, std::memory_order_seq_cst);
}

bool SharedIndex::Links(uint32_t number) const {
  const uint64_t head =
      BucketOf(LoadId<ObjectId>(entries_[number].id)).load(std::memory_order_seq_cst);
  uint32_t steps = 0;
  for (uint32_t next = HeadOf(head);
       next != 0 && next <= entry_capacity_ && ++steps <= kChainMax;) {
    if (next - 1 == number) {
      return true;
    }
    next = entries_[next - 1].next.load(std::memory_order_acquire);
  }
  return false;
}

std::string SharedIndex::Check(uint32_t entries) const {
  std::vector<uint8_t> linked(entries, 0);
  for (uint32_t i = 0; i < bucket_count_; ++i) {
    const uint64_t head = buckets_[i].load(std::memory_order_seq_cst);
    uint32_t steps = 0;
    for (uint32_t next = HeadOf(head); next != 0;) {
      const std::string where = "chain " + std::to_string(i) + ": ";
      if (next > entries) {
        return where + "entry " + std::to_string(next - 1) + " was never granted";
      }
      if (++steps > kChainMax || linked[next - 1] != 0) {
        return where + "entry " + std::to_string(next - 1) + " is linked twice";
      }
      linked[next - 1] = 1;
      const Entry& entry = entries_[next - 1];
      if (WordOf(next - 1).state == EntryState::kFree) {
        return where + "entry " + std::to_string(next - 1) + " is free";
      }
      if (&BucketOf(LoadId<ObjectId>(entry.id)) != &buckets_[i]) {
        return where + "entry " + std::to_string(next - 1) + " belongs elsewhere";
      }
      next = entry.next.load(std::memory_order_acquire);
    }
  }
  for (uint32_t number = 0; number < entries; ++number) {
    const EntryWord word = WordOf(number);
    // Looked for again: it may have been linked since.
    if (word.present() && word.state != EntryState::kCreating && linked[number] == 0 &&
        !Links(number)) {
      return "entry " + std::to_string(number) + " is in no chain";
    }
  }
  return {};
}

}  // namespace rayc::plasma
