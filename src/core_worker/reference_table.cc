#include "core_worker/reference_table.h"

#include <algorithm>
#include <utility>

#include "common/logging.h"

namespace rayc::core_worker {

void ReferenceTable::AddOwned(const ObjectId& id, uint32_t local) {
  auto [it, inserted] = references_.try_emplace(id);
  Reference& reference = it.value();
  if (!inserted && !reference.owned) {
    unregistered_.erase(id);
  }
  reference.owned = true;
  reference.local += local;
}

ReferenceTable::Reference& ReferenceTable::FindOrBorrow(const ObjectRefInfo& ref) {
  auto [it, inserted] = references_.try_emplace(ref.id);
  Reference& reference = it.value();
  if (inserted) {
    // An object of ours that is not here any more stays gone: nobody can borrow it from us.
    auto& owner = owners_[ref.owner.worker_id];
    if (owner == nullptr) {
      owner = std::make_shared<const Address>(ref.owner);
    }
    reference.owner = owner;
    if (!ref.owner.IsNil() && !(ref.owner == self_)) {
      unregistered_.insert(ref.id);
    }
  }
  return reference;
}

bool ReferenceTable::AddLocal(const ObjectRefInfo& ref) {
  Reference& reference = FindOrBorrow(ref);
  ++reference.local;
  return !reference.owned && reference.granted == 0 && unregistered_.count(ref.id) != 0;
}

void ReferenceTable::RemoveLocal(const ObjectId& id, Releases* releases) {
  const auto it = references_.find(id);
  if (it == references_.end() || it->second.local == 0) {
    return;
  }
  --it.value().local;
  ReleaseIfUnused(id, releases);
}

void ReferenceTable::AddSubmitted(const ObjectRefInfo& ref) { ++FindOrBorrow(ref).submitted; }

void ReferenceTable::RemoveSubmitted(const ObjectId& id, Releases* releases) {
  const auto it = references_.find(id);
  if (it == references_.end() || it->second.submitted == 0) {
    return;
  }
  --it.value().submitted;
  ReleaseIfUnused(id, releases);
}

void ReferenceTable::AddContained(const ObjectId& outer, const std::vector<ObjectRefInfo>& inner,
                                  bool granted) {
  for (const ObjectRefInfo& ref : inner) {
    Reference& reference = FindOrBorrow(ref);
    ++reference.contained;
    if (granted && !reference.owned) {
      ++reference.granted;
      unregistered_.erase(ref.id);
    }
  }
  const auto it = references_.find(outer);
  RAYC_CHECK(it != references_.end()) << "the container is not referenced: " << outer;
  for (const ObjectRefInfo& ref : inner) {
    it.value().contains.push_back(ref.id);
  }
}

bool ReferenceTable::AddBorrower(const ObjectId& id, const WorkerId& borrower) {
  const auto it = references_.find(id);
  if (it == references_.end() || !it->second.owned) {
    return false;
  }
  auto& borrowers = it.value().borrowers;
  if (borrowers == nullptr) {
    borrowers = std::make_unique<std::unordered_map<WorkerId, uint32_t>>();
  }
  if (++(*borrowers)[borrower] == 1) {
    borrowed_by_[borrower].insert(id);
  }
  return true;
}

void ReferenceTable::RemoveBorrower(const ObjectId& id, const WorkerId& borrower,
                                    Releases* releases) {
  const auto it = references_.find(id);
  if (it == references_.end() || it->second.borrowers == nullptr) {
    return;
  }
  auto& borrowers = *it.value().borrowers;
  const auto entry = borrowers.find(borrower);
  if (entry == borrowers.end()) {
    return;
  }
  if (--entry->second > 0) {
    return;
  }
  borrowers.erase(entry);
  const auto held = borrowed_by_.find(borrower);
  if (held != borrowed_by_.end()) {
    held->second.erase(id);
    if (held->second.empty()) {
      borrowed_by_.erase(held);
    }
  }
  ReleaseIfUnused(id, releases);
}

void ReferenceTable::RemoveBorrowerEverywhere(const WorkerId& borrower, Releases* releases) {
  const auto held = borrowed_by_.find(borrower);
  if (held == borrowed_by_.end()) {
    return;
  }
  const std::unordered_set<ObjectId> ids = std::move(held->second);
  borrowed_by_.erase(held);
  for (const ObjectId& id : ids) {
    const auto it = references_.find(id);
    if (it != references_.end() && it->second.borrowers != nullptr) {
      it.value().borrowers->erase(borrower);
      ReleaseIfUnused(id, releases);
    }
  }
}

std::vector<ObjectRefInfo> ReferenceTable::TakeUnregistered() {
  std::vector<ObjectRefInfo> taken;
  taken.reserve(unregistered_.size());
  for (const ObjectId& id : unregistered_) {
    const auto it = references_.find(id);
    it.value().granted = 1;
    taken.push_back({id, *it->second.owner});
  }
  unregistered_.clear();
  return taken;
}

bool ReferenceTable::TakeUnregistered(const ObjectId& id) {
  if (unregistered_.erase(id) == 0) {
    return false;
  }
  references_.find(id).value().granted = 1;
  return true;
}

std::vector<ObjectId> ReferenceTable::BorrowedFrom(const WorkerId& owner) const {
  std::vector<ObjectId> ids;
  for (const auto& [id, reference] : references_) {
    if (!reference.owned && reference.owner != nullptr && reference.owner->worker_id == owner) {
      ids.push_back(id);
    }
  }
  return ids;
}

bool ReferenceTable::IsOwned(const ObjectId& id) const {
  const auto it = references_.find(id);
  return it != references_.end() && it->second.owned;
}

Address ReferenceTable::OwnerOf(const ObjectId& id) const {
  const auto it = references_.find(id);
  if (it == references_.end()) {
    return {};
  }
  return it->second.owned ? self_ : *it->second.owner;
}

void ReferenceTable::ReleaseIfUnused(const ObjectId& id, Releases* releases) {
  // Iterative: values may contain references that contain references, to any depth.
  std::vector<ObjectId> pending{id};
  while (!pending.empty()) {
    const ObjectId current = pending.back();
    pending.pop_back();
    const auto it = references_.find(current);
    if (it == references_.end() || it->second.InUse()) {
      continue;
    }
    Reference& reference = it.value();
    if (reference.owned) {
      releases->owned.push_back(current);
    } else {
      releases->borrowed.push_back(current);
      unregistered_.erase(current);
      if (reference.granted > 0) {
        releases->unborrow.push_back({{current, *reference.owner}, reference.granted});
      }
    }
    for (const ObjectId& inner : reference.contains) {
      const auto contained = references_.find(inner);
      if (contained != references_.end() && contained->second.contained > 0) {
        --contained.value().contained;
        pending.push_back(inner);
      }
    }
    if (!call_sites_.empty()) {
      call_sites_.erase(current);
    }
    const std::shared_ptr<const Address> owner = std::move(reference.owner);
    references_.erase(references_.find(current));
    if (owner != nullptr && owner.use_count() == 2) {  // here and in owners_
      owners_.erase(owner->worker_id);
    }
  }
}

std::string ReferenceTable::DebugString(const ObjectId& id) const {
  const auto it = references_.find(id);
  if (it == references_.end()) {
    return "unknown";
  }
  const Reference& reference = it->second;
  return std::string(reference.owned ? "owned" : "borrowed") +
         " local=" + std::to_string(reference.local) +
         " submitted=" + std::to_string(reference.submitted) +
         " contained=" + std::to_string(reference.contained) +
         " borrowers=" + std::to_string(reference.borrowers ? reference.borrowers->size() : 0) +
         " granted=" + std::to_string(reference.granted);
}

void ReferenceTable::SetCallSite(const ObjectId& id, std::string call_site) {
  if (Has(id)) {
    call_sites_[id] = std::move(call_site);
  }
}

std::string ReferenceTable::CallSiteOf(const ObjectId& id) const {
  const auto it = call_sites_.find(id);
  return it == call_sites_.end() ? std::string() : it->second;
}

std::vector<ReferenceTable::View> ReferenceTable::Look(size_t count_max) const {
  std::vector<View> views;
  views.reserve(std::min(count_max, references_.size()));
  for (const auto& [id, reference] : references_) {
    if (views.size() == count_max) {
      break;
    }
    View& view = views.emplace_back();
    view.id = id;
    view.owner = reference.owned ? self_.worker_id : reference.owner->worker_id;
    view.local = reference.local;
    view.submitted = reference.submitted;
    view.contained = reference.contained;
    view.borrowers =
        reference.borrowers == nullptr ? 0 : static_cast<uint32_t>(reference.borrowers->size());
    view.call_site = CallSiteOf(id);
  }
  return views;
}

}  // namespace rayc::core_worker
