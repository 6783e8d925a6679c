// Who needs each object that this process owns or borrows. Pure: no IO, no clock; what has to be
// done comes out as Releases. Owned by CoreWorker, whose lock guards every call.
//
//   local      ObjectRefs of the language in this process
//   submitted  tasks under way that take the object, or a value that holds it
//   contained  objects of this process whose value holds a reference to it
//   borrowers  (owned only) other processes, each with how many registrations it was given
//   granted    (borrowed only) how many registrations the owner has counted for us
//
// An object is released when local, submitted, contained and borrowers are all 0: its value goes,
// and what its value contains is released in turn; a borrowed one gives its registrations back.
//
// Why registrations are counted: one process may give C a reference (registering C with the owner)
// while C gives its last one back. The two messages come to the owner on different connections, in
// either order; as counts they commute, as a set they would not.
//
// A borrowed reference that came with a task's arguments needs no registration while the task runs:
// the caller holds it. What is still held at the task's end is registered before the reply.
#pragma once

#include <tsl/robin_map.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "common/address.h"
#include "common/ids.h"
#include "common/task_spec.h"

namespace rayc::core_worker {

// What the end of references sets in motion.
struct Releases {
  struct Unborrow {
    ObjectRefInfo ref;
    uint32_t registrations;
  };
  std::vector<ObjectId> owned;     // nobody needs these any more
  std::vector<ObjectId> borrowed;  // we do not need these any more: what is cached of them may go
  std::vector<Unborrow> unborrow;  // tell the owners
  bool empty() const { return owned.empty() && borrowed.empty() && unborrow.empty(); }
};

class ReferenceTable {
 public:
  explicit ReferenceTable(Address self) : self_(std::move(self)) {}
  void set_self(Address self) { self_ = std::move(self); }

  // A new object of ours, with one local reference for each time it will be handed out.
  void AddOwned(const ObjectId& id, uint32_t local);
  // One more local reference to somebody's object (perhaps ours). True if the owner does not count
  // us yet: see TakeUnregistered.
  bool AddLocal(const ObjectRefInfo& ref);
  void RemoveLocal(const ObjectId& id, Releases* releases);
  void AddSubmitted(const ObjectRefInfo& ref);
  void RemoveSubmitted(const ObjectId& id, Releases* releases);
  // The value of `outer` (owned by us) holds these. `granted`: whoever made the value has
  // registered us with each owner, once per entry.
  void AddContained(const ObjectId& outer, const std::vector<ObjectRefInfo>& inner, bool granted);

  // ---- the owner's side ----
  bool AddBorrower(const ObjectId& id, const WorkerId& borrower);  // false: not ours, or gone
  void RemoveBorrower(const ObjectId& id, const WorkerId& borrower, Releases* releases);
  void RemoveBorrowerEverywhere(const WorkerId& borrower, Releases* releases);

  // ---- the borrower's side ----
  // Borrowed references that are held, and that their owners do not count yet; each is given out
  // once and counts as granted from then on: the caller must register it, and hold the source until
  // then.
  std::vector<ObjectRefInfo> TakeUnregistered();
  bool TakeUnregistered(const ObjectId& id);
  std::vector<ObjectId> BorrowedFrom(const WorkerId& owner) const;

  bool Has(const ObjectId& id) const { return references_.count(id) != 0; }
  bool IsOwned(const ObjectId& id) const;
  // The owner as far as known; nil if the object is unknown here.
  Address OwnerOf(const ObjectId& id) const;
  size_t size() const { return references_.size(); }
  std::string DebugString(const ObjectId& id) const;

  // ---- for people ----
  // Where the program made the object; kept as long as the reference is held.
  void SetCallSite(const ObjectId& id, std::string call_site);
  std::string CallSiteOf(const ObjectId& id) const;  // "" if that is not known
  struct View {
    ObjectId id;
    WorkerId owner;
    uint32_t local = 0;
    uint32_t submitted = 0;
    uint32_t contained = 0;
    uint32_t borrowers = 0;  // processes
    std::string call_site;
  };
  // Those of `count_max` references, in no order.
  std::vector<View> Look(size_t count_max) const;

 private:
  struct Reference {
    uint32_t local = 0;
    uint32_t submitted = 0;
    uint32_t contained = 0;
    uint32_t granted = 0;
    bool owned = false;
    std::shared_ptr<const Address> owner;  // borrowed only; shared by all references of that owner
    std::unique_ptr<std::unordered_map<WorkerId, uint32_t>> borrowers;
    std::vector<ObjectId> contains;
    bool InUse() const {
      return local > 0 || submitted > 0 || contained > 0 ||
             (borrowers != nullptr && !borrowers->empty());
    }
  };

  Reference& FindOrBorrow(const ObjectRefInfo& ref);
  void ReleaseIfUnused(const ObjectId& id, Releases* releases);

  Address self_;
  tsl::robin_map<ObjectId, Reference> references_;
  std::unordered_map<WorkerId, std::shared_ptr<const Address>> owners_;
  std::unordered_set<ObjectId> unregistered_;
  std::unordered_map<WorkerId, std::unordered_set<ObjectId>>
      borrowed_by_;  // owned objects, by borrower
  std::unordered_map<ObjectId, std::string> call_sites_;
};

}  // namespace rayc::core_worker
