// Unix-domain sockets: listen, connect, who is at the other end, and passing descriptors.
// Paths longer than sockaddr_un's 107 bytes work: they are reached through the folder's descriptor.
// Every descriptor made here is close-on-exec.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <span>
#include <string>
#include <vector>

#include "common/status.h"
#include "common/unique_fd.h"

namespace rayc {

struct PeerCredentials {
  pid_t pid;
  uid_t uid;
};

// Non-blocking listener; mode 0600. kAlreadyExists if a live listener holds the path; a dead
// one's file is replaced.
Result<UniqueFd> ListenUnix(const std::string& path);
// Blocking connect; the resulting socket is blocking.
Result<UniqueFd> ConnectUnix(const std::string& path);
Result<PeerCredentials> GetPeerCredentials(int fd);
Status SetNonBlocking(int fd, bool non_blocking);

inline constexpr size_t kFdsPerMessageMax = 8;
// What a msghdr needs to carry descriptors, either way. Outlives the call that it is used in.
class FdControl {
 public:
  // The message takes these along; at most kFdsPerMessageMax.
  void Attach(msghdr* message, std::span<const int> fds);
  // The message has room for those of the peer, which TakeFrom then owns.
  void Prepare(msghdr* message);
  static std::vector<UniqueFd> TakeFrom(const msghdr& message);

 private:
  alignas(cmsghdr) char bytes_[CMSG_SPACE(sizeof(int) * kFdsPerMessageMax)];
};

// One message on a SEQPACKET or the first bytes of a STREAM socket, with at most
// kFdsPerMessageMax descriptors.
Status SendWithFds(int fd, std::string_view bytes, std::span<const int> fds);
// Blocks. Up to `bytes_max` bytes; empty bytes mean that the peer has closed.
struct ReceivedWithFds {
  std::string bytes;
  std::vector<UniqueFd> fds;
};
Result<ReceivedWithFds> ReceiveWithFds(int fd, size_t bytes_max);

// Blocking loops over partial writes and EINTR.
Status WriteAll(int fd, const void* data, size_t bytes);
Status ReadAll(int fd, void* data, size_t bytes);  // kDisconnected at end of file

}  // namespace rayc
