#include "core_worker/actor_submitter.h"

#include <gtest/gtest.h>

#include "core_worker/object_format.h"

namespace rayc::core_worker {
namespace {

class FakeTransport final : public ActorSubmitter::Transport {
 public:
  void SubscribeActor(const ActorId& actor) override { subscribed.push_back(actor); }
  void PushCall(const Address& address, const ActorSubmitter::CallPtr& call) override {
    pushed.emplace_back(address, call);
  }
  void FailCall(const ActorSubmitter::CallPtr& call, const ObjectValue& error) override {
    failed.emplace_back(call, error);
  }
  std::vector<ActorId> subscribed;
  std::vector<std::pair<Address, ActorSubmitter::CallPtr>> pushed;
  std::vector<std::pair<ActorSubmitter::CallPtr, ObjectValue>> failed;
};

class ActorSubmitterTest : public ::testing::Test {
 protected:
  ActorSubmitter::CallPtr NewCall() {
    auto spec = std::make_shared<TaskSpec>();
    spec->type = TaskType::kActor;
    spec->actor_id = actor_;
    spec->task_id = TaskId::ForActorTask(actor_);
    return spec;
  }
  ActorSubmitter::CallPtr Submit(bool ready = true, int32_t retries = 0) {
    auto call = NewCall();
    submitter_.Submit(call, retries, ready);
    return call;
  }
  void Update(ActorUpdate::State state, uint32_t incarnation) {
    ActorUpdate update;
    update.actor_id = actor_;
    update.state = state;
    update.incarnation = incarnation;
    if (state == ActorUpdate::State::kAlive) {
      address_ = {NodeId::FromRandom(), WorkerId::FromRandom(), "s"};
      update.address = address_;
    }
    if (state == ActorUpdate::State::kDead) {
      update.error = MakeActorErrorValue({StatusCode::kActorDied, "killed"}, actor_);
    }
    submitter_.Follow(actor_);
    submitter_.OnUpdate(update);
  }

  const ActorId actor_ = ActorId::Of(JobId::FromInt(1));
  Address address_;
  FakeTransport transport_;
  ActorSubmitter submitter_{transport_};
};

TEST_F(ActorSubmitterTest, CallsWaitForTheActorAndThenGoInOrder) {
  std::vector<ActorSubmitter::CallPtr> calls;
  for (int i = 0; i < 5; ++i) calls.push_back(Submit());
  EXPECT_TRUE(transport_.pushed.empty());
  Update(ActorUpdate::State::kAlive, 1);
  ASSERT_EQ(transport_.pushed.size(), 5U);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(transport_.pushed[i].second, calls[i]);
    EXPECT_EQ(calls[i]->sequence_number, i);
  }
}

TEST_F(ActorSubmitterTest, CallWithPendingArgumentsHoldsBackThoseBehindIt) {
  Update(ActorUpdate::State::kAlive, 1);
  const auto first = Submit(false);
  const auto second = Submit(true);
  EXPECT_TRUE(transport_.pushed.empty());
  submitter_.OnReady(actor_, first->task_id);
  ASSERT_EQ(transport_.pushed.size(), 2U);
  EXPECT_EQ(transport_.pushed[0].second, first);
  EXPECT_EQ(transport_.pushed[1].second, second);
}

TEST_F(ActorSubmitterTest, FollowSubscribesOnce) {
  submitter_.Follow(actor_);
  submitter_.Follow(actor_);
  EXPECT_EQ(transport_.subscribed.size(), 1U);
}

TEST_F(ActorSubmitterTest, DeathFailsEverythingWithItsCause) {
  Update(ActorUpdate::State::kAlive, 1);
  const auto sent = Submit();
  const auto queued = Submit(false);
  Update(ActorUpdate::State::kDead, 1);
  ASSERT_EQ(transport_.failed.size(), 2U);
  EXPECT_EQ(transport_.failed[0].first, sent);
  EXPECT_EQ(transport_.failed[1].first, queued);
  Submit();
  EXPECT_EQ(transport_.failed.size(), 3U) << "later calls fail at once";
  EXPECT_TRUE(submitter_.IsDead(actor_));
}

TEST_F(ActorSubmitterTest, LostConnectionWaitsForTheVerdict) {
  Update(ActorUpdate::State::kAlive, 1);
  Submit();
  submitter_.OnWorkerLost(address_.worker_id);
  Submit();
  EXPECT_EQ(transport_.pushed.size(), 1U);
  EXPECT_TRUE(transport_.failed.empty());
  Update(ActorUpdate::State::kAlive, 1);
  EXPECT_EQ(transport_.pushed.size(), 1U) << "news from before the loss";
  Update(ActorUpdate::State::kRestarting, 1);
  ASSERT_EQ(transport_.failed.size(), 1U);
  EXPECT_EQ(transport_.failed[0].second.metadata, "d12");
  Update(ActorUpdate::State::kAlive, 2);
  EXPECT_EQ(transport_.pushed.size(), 2U) << "what was queued goes to the new incarnation";
}

// A message that the actor cannot read ends the connection, and not the actor.
TEST_F(ActorSubmitterTest, LostConnectionToAnActorThatLivesIsMadeAgain) {
  Update(ActorUpdate::State::kAlive, 1);
  const auto sent = Submit();
  const auto again = Submit(true, 1);
  submitter_.OnWorkerLost(address_.worker_id);
  const auto queued = Submit();
  submitter_.OnNoVerdict(WorkerId::FromRandom());
  EXPECT_TRUE(transport_.failed.empty());
  submitter_.OnNoVerdict(address_.worker_id);
  ASSERT_EQ(transport_.failed.size(), 1U);
  EXPECT_EQ(transport_.failed[0].first, sent);
  EXPECT_EQ(transport_.failed[0].second.metadata, "d12");
  ASSERT_EQ(transport_.pushed.size(), 4U);
  EXPECT_EQ(transport_.pushed[2].second->task_id, again->task_id);
  EXPECT_EQ(transport_.pushed[3].second, queued);
  submitter_.OnNoVerdict(address_.worker_id);
  EXPECT_EQ(transport_.pushed.size(), 4U);
}

TEST_F(ActorSubmitterTest, CallsWithRetriesAreSentAgainInOrder) {
  Update(ActorUpdate::State::kAlive, 1);
  const auto first = Submit(true, 1);
  const auto second = Submit(true, -1);
  submitter_.OnWorkerLost(address_.worker_id);
  const auto third = Submit(true, 0);
  Update(ActorUpdate::State::kRestarting, 1);
  EXPECT_TRUE(transport_.failed.empty());
  Update(ActorUpdate::State::kAlive, 2);
  ASSERT_EQ(transport_.pushed.size(), 5U);
  EXPECT_EQ(transport_.pushed[2].second->task_id, first->task_id);
  EXPECT_EQ(transport_.pushed[2].second->attempt, 1U);
  EXPECT_EQ(transport_.pushed[3].second->task_id, second->task_id);
  EXPECT_EQ(transport_.pushed[4].second, third);
  submitter_.OnWorkerLost(address_.worker_id);
  Update(ActorUpdate::State::kRestarting, 2);
  EXPECT_EQ(transport_.failed.size(), 2U) << "the first has used its retry, the third had none";
}

TEST_F(ActorSubmitterTest, StaleUpdatesAreIgnored) {
  Update(ActorUpdate::State::kAlive, 2);
  const Address current = address_;
  Update(ActorUpdate::State::kAlive, 1);
  Submit();
  ASSERT_EQ(transport_.pushed.size(), 1U);
  EXPECT_EQ(transport_.pushed[0].first, current);
}

TEST_F(ActorSubmitterTest, RemovedCallLetsTheNextGo) {
  Update(ActorUpdate::State::kAlive, 1);
  const auto blocked = Submit(false);
  const auto next = Submit(true);
  EXPECT_EQ(submitter_.Remove(actor_, blocked->task_id), blocked);
  ASSERT_EQ(transport_.pushed.size(), 1U);
  EXPECT_EQ(transport_.pushed[0].second, next);
  EXPECT_EQ(submitter_.Remove(actor_, next->task_id), nullptr) << "it is on its way";
}

TEST_F(ActorSubmitterTest, RepliesEndCalls) {
  Update(ActorUpdate::State::kAlive, 1);
  const auto call = Submit();
  EXPECT_EQ(submitter_.num_pending(actor_), 1U);
  submitter_.OnReply(actor_, call->task_id);
  EXPECT_EQ(submitter_.num_pending(actor_), 0U);
  Update(ActorUpdate::State::kDead, 1);
  EXPECT_TRUE(transport_.failed.empty());
}

TEST_F(ActorSubmitterTest, CallsThatRaisedAreSentAgainAsOftenAsTheyMay) {
  Update(ActorUpdate::State::kAlive, 1);
  const auto call = Submit(true, 1);
  EXPECT_TRUE(submitter_.Retry(actor_, call->task_id));
  ASSERT_EQ(transport_.pushed.size(), 2U);
  EXPECT_EQ(transport_.pushed[1].second->task_id, call->task_id);
  EXPECT_EQ(transport_.pushed[1].second->attempt, 1U);
  EXPECT_EQ(submitter_.num_pending(actor_), 1U);
  EXPECT_FALSE(submitter_.Retry(actor_, call->task_id));
  EXPECT_EQ(transport_.pushed.size(), 2U);
}

TEST_F(ActorSubmitterTest, CancelledCallIsNotSentAgain) {
  Update(ActorUpdate::State::kAlive, 1);
  const auto call = Submit(true, -1);
  EXPECT_EQ(submitter_.CancelInFlight(actor_, call->task_id), address_);
  EXPECT_FALSE(submitter_.Retry(actor_, call->task_id));
  submitter_.OnWorkerLost(address_.worker_id);
  EXPECT_TRUE(submitter_.CancelInFlight(actor_, call->task_id).IsNil())
      << "there is nobody to tell";
  Update(ActorUpdate::State::kAlive, 2);
  EXPECT_EQ(transport_.pushed.size(), 1U);
  ASSERT_EQ(transport_.failed.size(), 1U);
  EXPECT_EQ(transport_.failed[0].first, call);
}

}  // namespace
}  // namespace rayc::core_worker
