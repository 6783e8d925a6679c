#include "gcs/node_manager.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <vector>

namespace rayc::gcs {
namespace {

class NodeManagerTest : public ::testing::Test {
 protected:
  rpc::ChannelPtr MakeConnection() {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    others_.emplace_back(pair[1]);
    return rpc::Channel::Accept(loop_, UniqueFd(pair[0]), {}, nullptr);
  }
  static NodeRecord Node(int64_t cpus, bool is_head = false) {
    NodeRecord node;
    node.node_id = NodeId::FromRandom();
    node.is_head = is_head;
    node.total = Cpus(cpus);
    return node;
  }
  static ResourceSet Cpus(int64_t cpus) { return ResourceSet({{"CPU", cpus * kResourceUnit}}); }

  EventLoop loop_;
  std::vector<UniqueFd> others_;
  NodeManager nodes_;
};

TEST_F(NodeManagerTest, ANodeLivesAsLongAsItsConnection) {
  std::vector<NodeId> added;
  std::vector<NodeId> dead;
  nodes_.OnAdded([&](const NodeRecord& node) { added.push_back(node.node_id); });
  nodes_.OnDead([&](const NodeRecord& node) { dead.push_back(node.node_id); });
  const NodeRecord node = Node(2, true);
  const auto connection = MakeConnection();
  ASSERT_TRUE(nodes_.Register(node, connection).ok());
  EXPECT_EQ(nodes_.Register(node, connection).code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(nodes_.Register(NodeRecord(), connection).code(), StatusCode::kInvalidArgument);
  nodes_.Report(node.node_id, Cpus(9), Cpus(1));
  EXPECT_EQ(nodes_.Find(node.node_id)->available, Cpus(1));
  nodes_.OnDisconnect(MakeConnection());
  EXPECT_TRUE(nodes_.Find(node.node_id)->is_alive);
  nodes_.OnDisconnect(connection);
  nodes_.OnDisconnect(connection);
  EXPECT_FALSE(nodes_.Find(node.node_id)->is_alive);
  EXPECT_NE(nodes_.Find(node.node_id)->death_reason, "");
  nodes_.Report(node.node_id, Cpus(9), Cpus(2));  // late: ignored
  EXPECT_TRUE(nodes_.Find(node.node_id)->available.IsEmpty());
  EXPECT_EQ(added, std::vector<NodeId>{node.node_id});
  EXPECT_EQ(dead, std::vector<NodeId>{node.node_id});
  EXPECT_EQ(nodes_.List().size(), 1U);
}

TEST_F(NodeManagerTest, PicksAFreeNodeThenAFittingOneThenTheHead) {
  EXPECT_EQ(nodes_.Pick(Cpus(1), {}), std::nullopt);
  const NodeRecord head = Node(1, true);
  const NodeRecord other = Node(4);
  const auto connection = MakeConnection();
  ASSERT_TRUE(nodes_.Register(head, MakeConnection()).ok());
  ASSERT_TRUE(nodes_.Register(other, connection).ok());
  EXPECT_EQ(nodes_.Pick(Cpus(2), {}), other.node_id);
  EXPECT_EQ(nodes_.Pick({}, Cpus(3)), other.node_id);
  nodes_.Report(other.node_id, Cpus(9), Cpus(0));
  EXPECT_EQ(nodes_.Pick(Cpus(1), {}), head.node_id);
  EXPECT_EQ(nodes_.Pick(Cpus(4), {}), other.node_id);  // would fit later
  EXPECT_EQ(nodes_.Pick(Cpus(9), {}), head.node_id);   // fits nowhere: the head says so
  nodes_.OnDisconnect(connection);
  EXPECT_EQ(nodes_.Pick(Cpus(4), {}), head.node_id);
}

}  // namespace
}  // namespace rayc::gcs
