// What is in the store, in memory that the store and all its clients share: a hash table from ids
// to entries. Look-up and publication need no server and no lock.
//
//   header | dead owners | doorbells | buckets | entries
//
// An entry's `word` says what it is: (state, maker, generation), changed by one atomic step. The
// generation rises each time the entry is used anew, so that (entry, generation) names one object
// for ever. Who may change what:
//
//   free -> creating           the client that the entry was granted to; or the store
//   creating -> sealed, dead   its maker, or the store after the maker's death
//   creating -> doomed         anybody (delete); its maker then makes it dead instead of sealed
//   sealed -> dead             anybody (delete)
//   sealed <-> spilling -> spilled -> restoring -> sealed, any of them -> dead: the store; dead by
//   anybody dead -> free               the store, when nobody pins it
//
// Only the store unlinks from a chain, and only it gives entries and arena memory out again. A
// bucket's word is (version, head): inserting changes the head by compare-and-swap, unlinking also
// raises the version. A reader that does not find its id, and finds the version changed, looks
// again.
//
// Pins. A client pins an object by writing (entry, generation) into its own pin table and then
// reading the word again: still readable means pinned. Whoever makes it unreadable changes the word
// first and the store then scans the tables. Both sides use sequentially consistent order between
// their write and their read: one of them sees the other (ClientSegment).
//
// Everything here can be overwritten by a broken client. So nothing is read twice: values are
// copied, checked (Arena::Holds, entry numbers against the capacity), then used; chains are walked
// a bounded number of steps.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/ids.h"
#include "common/status.h"
#include "common/unique_fd.h"

namespace rayc::plasma {

enum class EntryState : uint8_t {
  kFree = 0,
  kCreating = 1,
  kDoomed = 2,  // being created, and deleted already
  kSealed = 3,
  kSpilling = 4,  // readable still; being written to disk
  kSpilled = 5,
  kRestoring = 6,
  kDead = 7,  // deleted; goes with its last pin
};

struct EntryWord {
  EntryState state = EntryState::kFree;
  uint32_t maker = 0;       // of 24 bits: the client's slot; 0: the store
  uint32_t generation = 0;  // never 0 in an entry that was used

  uint64_t Pack() const {
    return static_cast<uint64_t>(state) | (static_cast<uint64_t>(maker & 0xffffffU) << 8) |
           (static_cast<uint64_t>(generation) << 32);
  }
  static EntryWord Unpack(uint64_t word) {
    return {static_cast<EntryState>(word & 0xff), static_cast<uint32_t>(word >> 8) & 0xffffffU,
            static_cast<uint32_t>(word >> 32)};
  }
  friend bool operator==(const EntryWord&, const EntryWord&) = default;
  bool readable() const { return state == EntryState::kSealed || state == EntryState::kSpilling; }
  // Its id is taken: nobody else can create it.
  bool present() const {
    return state == EntryState::kCreating || readable() || state == EntryState::kSpilled ||
           state == EntryState::kRestoring;
  }
  bool being_created() const {
    return state == EntryState::kCreating || state == EntryState::kDoomed;
  }
  EntryWord With(EntryState other) const { return {other, maker, generation}; }
};

// One object, by the place of its entry and the generation that it has there.
struct EntryRef {
  uint32_t entry = 0;
  uint32_t generation = 0;

  uint64_t Pack() const { return entry | (static_cast<uint64_t>(generation) << 32); }
  static EntryRef Unpack(uint64_t packed) {
    return {static_cast<uint32_t>(packed), static_cast<uint32_t>(packed >> 32)};
  }
  friend bool operator==(const EntryRef&, const EntryRef&) = default;
};

// Bytes that are written by one process and may be read by another meanwhile: the reader finds out
// by the entry's word that they were not for it.
template <size_t kBytes>
class SharedBytes {
 public:
  void Store(const void* from, size_t bytes);
  void Load(void* to, size_t bytes) const;

 private:
  static_assert(kBytes % sizeof(uint64_t) == 0);
  std::atomic<uint64_t> words_[kBytes / sizeof(uint64_t)];
};

struct alignas(64) Entry {
  static constexpr size_t kInlineMetadataBytes = 64;

  std::atomic<uint64_t> word;
  std::atomic<uint32_t> next;  // of the chain: entry number + 1; 0: none
  std::atomic<uint32_t> flags;
  std::atomic<uint64_t> offset;  // in the arena
  std::atomic<uint64_t> data_bytes;
  std::atomic<uint64_t> last_used_ns;    // CLOCK_MONOTONIC, one for all processes
  std::atomic<uint32_t> metadata_bytes;  // longer ones lie behind the data, at a multiple of 8
  std::atomic<int32_t> made_by_pid;
  SharedBytes<32> id;
  SharedBytes<32> owner;
  SharedBytes<kInlineMetadataBytes> metadata;

  static constexpr uint32_t kEvictable = 1;
};
static_assert(sizeof(Entry) == 192);

// A consistent copy of an entry; what it says was checked against the arena.
struct ObjectRecord {
  EntryRef ref;
  EntryWord word;
  ObjectId id;
  WorkerId owner;
  uint64_t offset = 0;
  uint64_t data_bytes = 0;
  uint32_t metadata_bytes = 0;
  int32_t made_by_pid = 0;
  uint64_t last_used_ns = 0;
  bool evictable = false;
};

class SharedIndex {
 public:
  static constexpr uint32_t kDoorbells = 64;
  static constexpr uint32_t kMetadataBytesMax = 64U << 10;

  // The store's: sized for an arena of `arena_bytes`.
  static Result<std::shared_ptr<SharedIndex>> Create(uint64_t arena_bytes);
  // A client's.
  static Result<std::shared_ptr<SharedIndex>> Map(UniqueFd fd);
  ~SharedIndex();
  SharedIndex(const SharedIndex&) = delete;
  SharedIndex& operator=(const SharedIndex&) = delete;

  int fd() const { return fd_.get(); }
  uint32_t entry_capacity() const { return entry_capacity_; }
  // For a number below entry_capacity().
  Entry& at(uint32_t entry) const { return entries_[entry]; }
  EntryWord WordOf(uint32_t entry) const {
    return EntryWord::Unpack(entries_[entry].word.load(std::memory_order_seq_cst));
  }

  // What an object takes in the arena, a multiple of 64.
  static uint64_t ExtentBytes(uint64_t data_bytes, uint64_t metadata_bytes);

  // Fills a free entry and makes it `creating` under a new generation. Not linked yet. `metadata`
  // over kInlineMetadataBytes is for the caller to write (MetadataOffset).
  EntryRef Fill(uint32_t entry, uint32_t maker, const ObjectId& id, const WorkerId& owner,
                uint64_t offset, uint64_t data_bytes, std::string_view metadata, int32_t pid,
                bool evictable) const;
  // Links a filled entry. kAlreadyExists, with the number of the entry that is in the way in
  // `existing`; kInternal if the table is damaged.
  Status Insert(uint32_t entry, const ObjectId& id, uint32_t* existing) const;
  // The object of that id that is present(); null if there is none. Damaged chains end.
  std::optional<EntryRef> Find(const ObjectId& id) const;
  // The store's alone. False if it is not in its chain.
  bool Unlink(uint32_t entry, const ObjectId& id) const;

  // word: `from` to `to`; false if it is another one by now.
  bool Change(uint32_t entry, EntryWord from, EntryWord to) const {
    uint64_t expected = from.Pack();
    return entries_[entry].word.compare_exchange_strong(expected, to.Pack(),
                                                        std::memory_order_seq_cst);
  }
  // Makes the object dead, or doomed while it is being created. True if it is dead by this call:
  // the caller then tells the store.
  bool Kill(EntryRef ref) const;

  // Of the entry while it is `ref`; null if it is not by now, or says what cannot be.
  std::optional<ObjectRecord> Read(uint32_t entry, uint64_t arena_bytes) const;
  static uint64_t ExtentBytes(const ObjectRecord& record) {
    return ExtentBytes(record.data_bytes, record.metadata_bytes);
  }
  // Where metadata lies that is too long for the entry.
  static uint64_t MetadataOffset(uint64_t offset, uint64_t data_bytes) {
    return offset + ((data_bytes + 7) & ~uint64_t{7});
  }

  void Touch(uint32_t entry) const;  // used now

  // Owners that are gone, as the latest some thousand hashes. A creator looks before it begins and
  // again after it has sealed; the store notes the owner before it looks for its objects.
  bool OwnerIsDead(const WorkerId& owner) const;
  void NoteDeadOwner(const WorkerId& owner) const;

  // Those who wait for an object that is not there sleep on the doorbell of its id: arm it, look
  // for the object, then wait with the value that Arm gave. kOk when it has rung since, or
  // spuriously; kTimedOut; kInterrupted when a signal arrives.
  uint32_t ArmDoorbell(const ObjectId& id) const;
  Status WaitForDoorbell(const ObjectId& id, uint32_t armed, int64_t timeout_ms) const;
  // After an object was sealed. A system call only if somebody waits.
  void Ring(const ObjectId& id) const;
  void RingAll() const;

  // True if somebody must be told of every seal (the store sets it).
  bool subscribed() const;
  void SetSubscribed(bool on) const;
  // Set by clients that have put something into their outbox; whoever sets it wakes the store.
  bool SetWorkPending() const;  // true if it was not set before
  void ClearWorkPending() const;

  // Chains, words and generations of entries below `entries`: what is wrong with them, or empty.
  std::string Check(uint32_t entries) const;

 private:
  struct Header;
  SharedIndex(UniqueFd fd, uint8_t* base, uint64_t bytes);
  static uint64_t BytesFor(uint32_t entries, uint32_t buckets);
  void SetPointers(uint32_t entries, uint32_t buckets);
  std::atomic<uint64_t>& BucketOf(const ObjectId& id) const;
  bool Links(uint32_t entry) const;  // its chain has it
  std::atomic<uint32_t>& DoorbellOf(const ObjectId& id) const;

  const UniqueFd fd_;
  uint8_t* const base_;
  const uint64_t bytes_;
  // Copied from the header when mapped, and checked against the size of the memfd.
  uint32_t entry_capacity_ = 0;
  uint32_t bucket_count_ = 0;
  Header* header_ = nullptr;
  std::atomic<uint64_t>* buckets_ = nullptr;
  Entry* entries_ = nullptr;
};

}  // namespace rayc::plasma
