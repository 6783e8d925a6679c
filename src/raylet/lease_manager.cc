#include "raylet/lease_manager.h"

#include <algorithm>
#include <set>
#include <utility>

#include "common/logging.h"
#include "scheduling/feasibility.h"

namespace rayc::raylet {
namespace {

constexpr int64_t kReserveFirstMs = 1'000;
constexpr int64_t kReserveLongestMs = 60'000;
constexpr int64_t kReserveBreakMs = 500;

std::string ClassKey(const LeaseRequest& request) {
  return std::to_string(request.key.client) + '|' + request.job_id.Hex() + '|' +
         (request.is_actor ? 'a' : 't') + '|' + request.resources.ToString() + '|' +
         request.placement.ToString() + '|' + request.runtime_env + request.strategy.Key();
}

std::string ClassKey(const BundleRequest& request) { return 'b' + request.group.Hex(); }

// What must be free for it: for messages, and to compare.
ResourceSet Needed(const LeaseRequest& request) {
  ResourceSet needed = request.resources;
  for (const auto& [name, amount] : request.placement.amounts()) {
    needed.Set(name, std::max(needed.Get(name), amount));
  }
  return needed;
}

Status GroupRemoved(const PlacementGroupId& group) {
  return {StatusCode::kPlacementGroupRemoved,
          "the placement group " + group.Hex() + " was removed"};
}

WorkerNeed NeedOf(const LeaseRequest& request) {
  return {request.job_id, request.runtime_env, request.is_actor};
}

}  // namespace

LeaseManager::LeaseManager(const Clock& clock, LeaseManagerOptions options, LeaseActions& actions)
    : clock_(clock), options_(std::move(options)), actions_(actions), resources_(options_.totals) {}

bool LeaseManager::ReservationActive(int64_t waited_ms) {
  int64_t left_ms = waited_ms - kStarvedAfterMs;
  int64_t window_ms = kReserveFirstMs;
  while (left_ms >= 0) {
    if (left_ms < window_ms) {
      return true;
    }
    left_ms -= window_ms + kReserveBreakMs;
    window_ms = std::min(window_ms * 2, kReserveLongestMs);
  }
  return false;
}

void LeaseManager::Request(LeaseRequest request) {
  const LeaseKey key = request.key;
  if (closed_) {
    actions_.Reject(key, *closed_);
    return;
  }
  if (IsKnown(key)) {
    actions_.Reject(key, Status::InvalidArgument("lease " + std::to_string(key.lease_id) +
                                                 " was asked for twice"));
    return;
  }
  bool is_feasible = true;
  if (const Status status = CheckLease(request, &is_feasible); !status.ok()) {
    actions_.Reject(key, status);
    return;
  }
  std::string class_key = ClassKey(request);
  Enqueue(std::move(class_key), Waiting{std::move(request), std::nullopt}, is_feasible);
}

Status LeaseManager::CheckLease(const LeaseRequest& request, bool* is_feasible) const {
  const SchedulingStrategy& strategy = request.strategy;
  if (!strategy.node_text.empty() && !strategy.node_is_soft && strategy.node != options_.node_id) {
    return {StatusCode::kUnschedulable,
            "no living node of this cluster is one " + strategy.node_text};
  }
  const ResourceSet needed = Needed(request);
  if (std::string malformed = scheduling::DescribeMalformed(needed); !malformed.empty()) {
    return {StatusCode::kUnschedulable, std::move(malformed)};
  }
  const scheduling::BundleTarget target = request.target();
  if (target.InGroup()) {
    if (resources_.IsUsable(target.group) &&
        !resources_.IsFeasible(target, request.resources, request.placement)) {
      return {StatusCode::kUnschedulable,
              "the bundle of its placement group cannot hold this request (" +
                  resources_.TotalsOf(target).DescribeShortfall(needed) + ")"};
    }
    return Status::Ok();
  }
  *is_feasible = resources_.outside().totals().Covers(needed);
  if (!*is_feasible) {
    const std::string why = scheduling::DescribeInfeasible(resources_.outside().totals(), needed);
    if (options_.fail_infeasible) {
      return {StatusCode::kUnschedulable, why};
    }
    RAYC_LOG(kWarning) << request.name << " waits: " << why;
  } else if (strategy.fails_if_busy &&
             !resources_.CanAllocate(target, request.resources, request.placement)) {
    return {StatusCode::kUnschedulable,
            "the node " + strategy.node_text + " has not enough free at the moment (" +
                resources_.outside().available().DescribeShortfall(needed) + ")"};
  }
  return Status::Ok();
}

void LeaseManager::Enqueue(std::string class_key, Waiting request, bool is_feasible) {
  const LeaseKey key = request.bundles ? request.bundles->key : request.lease.key;
  const PlacementGroupId group = request.lease.strategy.group;
  ClassQueue& queue = classes_[class_key];
  if (queue.requests.empty()) {
    queue.class_key = class_key;
    queue.turn = next_turn_++;
    queue.is_feasible = is_feasible;
    queue.group = group;
    queue.awaits_group = !group.IsNil() && !resources_.IsUsable(group);
  }
  const bool ask = queue.awaits_group && queue.requests.empty();
  queued_.emplace(key, std::move(class_key));
  queue.requests.push_back(std::move(request));
  if (ask) {
    actions_.AskGroup(group);
  }
  Schedule();
}

bool LeaseManager::IsKnown(const LeaseKey& key) const {
  return queued_.count(key) > 0 || granted_.count(key) > 0;
}

// ---- bundles ----

void LeaseManager::RequestBundles(BundleRequest request) {
  const LeaseKey key = request.key;
  if (closed_) {
    actions_.Reject(key, *closed_);
    return;
  }
  std::string class_key = ClassKey(request);
  if (IsKnown(key) || resources_.Has(request.group) || classes_.count(class_key) > 0) {
    actions_.Reject(key, Status::InvalidArgument("these bundles were asked for twice"));
    return;
  }
  const ResourceSet sum = scheduling::SumOf(request.bundles);
  if (request.bundles.empty() || !resources_.CouldReserve(request.bundles)) {
    actions_.Reject(key,
                    Status(StatusCode::kUnschedulable,
                           scheduling::DescribeInfeasible(resources_.outside().totals(), sum)));
    return;
  }
  if (!request.wait && !resources_.CanReserve(request.bundles)) {
    actions_.Reject(key, Status::TimedOut("not free now"));
    return;
  }
  LeaseRequest as_lease;  // what it needs, for all that compares requests
  as_lease.key = key;
  as_lease.resources = sum;
  as_lease.placement = sum;
  Enqueue(std::move(class_key), Waiting{std::move(as_lease), std::move(request)}, true);
}

void LeaseManager::CommitBundles(const PlacementGroupId& group) {
  resources_.MakeUsable(group);
  GroupIsHere(group);
  Schedule();
}

void LeaseManager::GroupIsHere(const PlacementGroupId& group) {
  if (!resources_.IsUsable(group)) {
    return;
  }
  // Those that waited for it, and do not fit.
  std::vector<std::pair<LeaseKey, Status>> rejected;
  for (auto& [class_key, queue] : classes_) {
    if (!queue.awaits_group || queue.group != group) {
      continue;
    }
    queue.awaits_group = false;
    for (const Waiting& waiting : queue.requests) {
      bool is_feasible = true;
      if (Status status = CheckLease(waiting.lease, &is_feasible); !status.ok()) {
        rejected.emplace_back(waiting.lease.key, std::move(status));
      }
    }
  }
  for (const auto& [key, why] : rejected) {
    RejectQueued(why, [&](const Waiting& waiting) { return waiting.lease.key == key; });
  }
}

void LeaseManager::ReturnBundles(const PlacementGroupId& group, const std::string& reason) {
  RejectQueued(Status(StatusCode::kCancelled, reason), [&](const Waiting& waiting) {
    return waiting.bundles && waiting.bundles->group == group;
  });
  std::vector<Lease> ended;
  if (resources_.Has(group)) {
    std::erase_if(granted_, [&](auto& entry) {
      if (entry.second.holding.bundle.group != group) {
        return false;
      }
      ended.push_back(std::move(entry.second));
      return true;
    });
    resources_.Return(group);
    actions_.AvailableChanged();
  }
  RejectQueued(GroupRemoved(group),
               [&](const Waiting& waiting) { return waiting.lease.strategy.group == group; });
  for (const Lease& lease : ended) {
    by_worker_.erase(lease.worker);
    actions_.KillWorkerOfGroup(lease.worker, reason);
  }
  Schedule();
}

void LeaseManager::GroupSettled(const PlacementGroupId& group, const Status& status) {
  if (status.ok() && resources_.Has(group)) {
    return;
  }
  const Status why =
      status.ok() ? Status(StatusCode::kUnschedulable,
                           "the bundles of placement group " + group.Hex() + " lie on other nodes")
                  : status;
  RejectQueued(why, [&](const Waiting& waiting) { return waiting.lease.strategy.group == group; });
  Schedule();
}

template <typename Matches>
void LeaseManager::RejectQueued(const Status& why, Matches matches) {
  std::vector<LeaseKey> rejected;
  for (auto& [class_key, queue] : classes_) {
    std::erase_if(queue.requests, [&](const Waiting& waiting) {
      if (!matches(waiting)) {
        return false;
      }
      rejected.push_back(waiting.lease.key);
      return true;
    });
  }
  for (const LeaseKey& key : rejected) {
    queued_.erase(key);
  }
  EraseEmptyQueues();
  for (const LeaseKey& key : rejected) {
    actions_.Reject(key, why);
  }
}

void LeaseManager::Cancel(const LeaseKey& key) {
  const auto it = queued_.find(key);
  if (it == queued_.end()) {
    return;
  }
  std::deque<Waiting>& requests = classes_[it->second].requests;
  std::erase_if(requests, [&](const Waiting& waiting) { return waiting.lease.key == key; });
  queued_.erase(it);
  actions_.Reject(key, Status(StatusCode::kCancelled, "the request for a worker was cancelled"));
  Schedule();
}

void LeaseManager::Return(const LeaseKey& key, bool worker_exiting) {
  const auto it = granted_.find(key);
  if (it == granted_.end()) {
    return;  // its worker died just before
  }
  const Lease lease = std::move(it->second);
  granted_.erase(it);
  Release(lease);
  // An actor's state must not meet anybody else.
  actions_.GiveBackWorker(lease.worker, worker_exiting || lease.request.is_actor);
  Schedule();
}

void LeaseManager::ClientGone(ClientId client) {
  const auto of_client = [client](const auto& entry) { return entry.first.client == client; };
  for (auto& [key, queue] : classes_) {
    std::erase_if(queue.requests,
                  [&](const Waiting& waiting) { return waiting.lease.key.client == client; });
  }
  std::vector<LeaseKey> rejected;
  for (const auto& [key, class_key] : queued_) {
    if (key.client == client) {
      rejected.push_back(key);
    }
  }
  std::erase_if(queued_, of_client);
  std::vector<Lease> ended;
  std::erase_if(granted_, [&](auto& entry) {
    if (!of_client(entry) || entry.second.request.outlives_client) {
      return false;
    }
    ended.push_back(std::move(entry.second));
    return true;
  });
  for (const Lease& lease : ended) {
    Release(lease);
  }
  for (const LeaseKey& key : rejected) {
    actions_.Reject(key, Status(StatusCode::kCancelled, "the requester is gone"));
  }
  for (const Lease& lease : ended) {
    actions_.KillWorker(lease.worker, "the owner of its task is gone");
  }
  Schedule();
}

void LeaseManager::WorkerLost(const WorkerId& worker) {
  const auto it = by_worker_.find(worker);
  if (it == by_worker_.end()) {
    return;
  }
  const auto lease_it = granted_.find(it->second);
  RAYC_CHECK(lease_it != granted_.end());
  const Lease lease = std::move(lease_it->second);
  granted_.erase(lease_it);
  Release(lease);
  Schedule();
}

void LeaseManager::Blocked(const WorkerId& worker) {
  const auto it = by_worker_.find(worker);
  if (it == by_worker_.end()) {
    return;
  }
  Lease& lease = granted_.at(it->second);
  if (lease.request.is_actor || lease.holding.allocation.cpu_lent) {
    return;
  }
  resources_.LendCpu(lease.holding);
  actions_.AvailableChanged();
  Schedule();
}

void LeaseManager::Unblocked(const WorkerId& worker) {
  const auto it = by_worker_.find(worker);
  if (it == by_worker_.end()) {
    return;
  }
  Lease& lease = granted_.at(it->second);
  if (lease.holding.allocation.cpu_lent) {
    resources_.TakeBackCpu(lease.holding);
    actions_.AvailableChanged();
  }
}

void LeaseManager::Close(const Status& why) {
  closed_ = why;
  classes_.clear();
  for (const auto& [key, class_key] : std::exchange(queued_, {})) {
    actions_.Reject(key, why);
  }
}

void LeaseManager::Release(const Lease& lease) {
  by_worker_.erase(lease.worker);
  resources_.Release(lease.holding);
  actions_.AvailableChanged();
}

void LeaseManager::Schedule() {
  EraseEmptyQueues();
  if (classes_.empty()) {
    actions_.WantWorkers(0);
    asked_back_ms_.clear();
    return;
  }
  Pass pass{resources_, 0, false, {}, {}, {}};
  GrantWhatFits(pass);
  EraseEmptyQueues();
  if (!pass.groups_here.empty() && !classes_.empty()) {
    for (const PlacementGroupId& group : pass.groups_here) {
      GroupIsHere(group);
    }
    Schedule();
    return;
  }
  // Always told, also of none: the pool then knows that it need not start any.
  const bool may_start = actions_.WantWorkers(pass.workers_wanted);
  const bool out_of_workers = !may_start && pass.workers_wanted > 0;
  if (pass.short_of_resources.empty() && !out_of_workers) {
    asked_back_ms_.clear();
    return;
  }
  Reclaim(pass, out_of_workers);
}

void LeaseManager::GrantWhatFits(Pass& pass) {
  struct Cursor {
    ClassQueue* queue;
    size_t index;  // requests before it wait for workers that have yet to start
  };
  std::deque<Cursor> order;
  for (auto& [key, queue] : classes_) {
    if (queue.is_feasible && !queue.awaits_group) {
      order.push_back({&queue, 0});
    }
  }
  std::sort(order.begin(), order.end(),
            [](const Cursor& a, const Cursor& b) { return a.queue->turn < b.queue->turn; });
  while (!order.empty()) {
    Cursor at = order.front();
    order.pop_front();
    if (at.index >= at.queue->requests.size()) {
      continue;
    }
    const Waiting& waiting = at.queue->requests[at.index];
    const LeaseRequest& request = waiting.lease;
    // Both: instances may have been taken in another order in the sketch.
    if (!Fits(pass.sketch, waiting) || !Fits(resources_, waiting)) {
      if (at.index == 0) {
        DidNotFit(pass, *at.queue);
      }
      pass.short_of_resources.push_back(at.queue);
      continue;
    }
    at.queue->short_since_ms.reset();
    if (waiting.bundles) {
      ReserveBundles(pass, *at.queue);
      order.push_back(at);
      continue;
    }
    // Where the first of a class found no idle worker, the others will not either.
    const auto worker = at.index == 0 ? actions_.TakeIdleWorker(NeedOf(request)) : std::nullopt;
    if (worker) {
      GrantTo(pass, *at.queue, *worker);
    } else {
      ++pass.workers_wanted;
      pass.short_of_workers.push_back(at.queue);
      pass.sketch.Allocate(request.target(), request.resources, request.placement);
      ++at.index;
    }
    order.push_back(at);
  }
}

bool LeaseManager::Fits(const scheduling::NodeResources& resources, const Waiting& request) {
  return request.bundles ? resources.CanReserve(request.bundles->bundles)
                         : resources.CanAllocate(request.lease.target(), request.lease.resources,
                                                 request.lease.placement);
}

void LeaseManager::ReserveBundles(Pass& pass, ClassQueue& queue) {
  const BundleRequest request = std::move(*queue.requests.front().bundles);
  queue.requests.pop_front();
  queued_.erase(request.key);
  resources_.Reserve(request.group, request.bundles, request.commit);
  pass.sketch.Reserve(request.group, request.bundles, request.commit);
  actions_.AvailableChanged();
  actions_.BundlesReserved(request.key);
  pass.groups_here.push_back(request.group);
}

void LeaseManager::GrantTo(Pass& pass, ClassQueue& queue, const WorkerId& worker) {
  Lease lease;
  lease.request = std::move(queue.requests.front().lease);
  queue.requests.pop_front();
  queue.turn = next_turn_++;
  lease.class_key = queue.class_key;
  lease.worker = worker;
  const LeaseRequest& asked = lease.request;
  lease.holding = resources_.Allocate(asked.target(), asked.resources, asked.placement);
  pass.sketch.Allocate(asked.target(), asked.resources, asked.placement);
  const LeaseKey key = lease.request.key;
  queued_.erase(key);
  by_worker_[worker] = key;
  const Lease& granted = granted_.emplace(key, std::move(lease)).first->second;
  actions_.AvailableChanged();
  actions_.Grant(granted.request, worker, granted.holding.allocation);
}

void LeaseManager::DidNotFit(Pass& pass, ClassQueue& queue) {
  const int64_t now_ms = clock_.NowMs();
  if (!queue.short_since_ms) {
    queue.short_since_ms = now_ms;
  }
  // For one class at a time, the one that comes first: setting aside for two could idle the node.
  if (!pass.reserved && ReservationActive(now_ms - *queue.short_since_ms)) {
    pass.reserved = true;
    const LeaseRequest& request = queue.requests.front().lease;
    pass.sketch.SetAside(request.target(), request.resources, request.placement);
  }
}

void LeaseManager::Reclaim(const Pass& pass, bool out_of_workers) {
  const int64_t now_ms = clock_.NowMs();
  std::set<ClientId> clients;
  for (const auto& entry : granted_) {
    const ClientId client = entry.first.client;
    const Lease& lease = entry.second;
    const auto asked = asked_back_ms_.find(client);
    if (lease.request.is_actor ||
        (asked != asked_back_ms_.end() && now_ms - asked->second < kReclaimEveryMs)) {
      continue;
    }
    const auto is_short = [&](const ClassQueue* queue) { return HoldsWhatIsShort(lease, *queue); };
    const auto is_other = [&](const ClassQueue* queue) {
      return queue->class_key != lease.class_key;
    };
    if (std::any_of(pass.short_of_resources.begin(), pass.short_of_resources.end(), is_short) ||
        (out_of_workers &&
         std::any_of(pass.short_of_workers.begin(), pass.short_of_workers.end(), is_other))) {
      asked_back_ms_[client] = now_ms;
      clients.insert(client);
    }
  }
  for (const ClientId client : clients) {
    actions_.ReclaimLeases(client);
  }
}

bool LeaseManager::HoldsWhatIsShort(const Lease& lease, const ClassQueue& queue) const {
  // A client that waits for more of what it has would have used an idle lease of its own.
  if (queue.requests.empty() || queue.class_key == lease.class_key) {
    return false;
  }
  const LeaseRequest& request = queue.requests.front().lease;
  if (request.strategy.group != lease.holding.bundle.group) {
    return false;  // it holds nothing where this one waits
  }
  for (const auto& [name, amount] : lease.holding.allocation.held.amounts()) {
    if (name == kCpu && lease.holding.allocation.cpu_lent) {
      continue;
    }
    const int64_t wanted = std::max(request.resources.Get(name), request.placement.Get(name));
    if (amount > 0 && wanted > 0) {
      return true;
    }
  }
  return false;
}

void LeaseManager::EraseEmptyQueues() {
  std::erase_if(classes_, [](const auto& entry) { return entry.second.requests.empty(); });
}

}  // namespace rayc::raylet
