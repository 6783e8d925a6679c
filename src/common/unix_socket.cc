#include "common/unix_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

namespace rayc {
namespace {

constexpr int kBacklog = 1024;

// An address for `path`; keeps the folder open while a long path is in use.
struct UnixAddress {
  sockaddr_un addr{};
  socklen_t length = 0;
  UniqueFd folder;
};

Result<UnixAddress> MakeAddress(const std::string& path) {
  UnixAddress result;
  result.addr.sun_family = AF_UNIX;
  std::string usable = path;
  if (path.size() >= sizeof(result.addr.sun_path)) {
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) {
      return Err(Status::InvalidArgument("socket name too long: " + path));
    }
    result.folder.Reset(::open(path.substr(0, slash).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!result.folder.valid()) {
      return Err(Status::FromErrno("cannot open the folder of " + path, errno));
    }
    usable = "/proc/self/fd/" + std::to_string(result.folder.get()) + path.substr(slash);
    if (usable.size() >= sizeof(result.addr.sun_path)) {
      return Err(Status::InvalidArgument("socket name too long: " + path));
    }
  }
  std::memcpy(result.addr.sun_path, usable.c_str(), usable.size() + 1);
  result.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + usable.size() + 1);
  return result;
}

}  // namespace

Result<UniqueFd> ConnectUnix(const std::string& path) {
  auto address = MakeAddress(path);
  if (!address) {
    return Err(address.error());
  }
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) {
    return Err(Status::FromErrno("socket", errno));
  }
  while (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address->addr), address->length) !=
         0) {
    if (errno == EINTR) {
      continue;
    }
    const StatusCode code = (errno == ENOENT || errno == ECONNREFUSED) ? StatusCode::kDisconnected
                                                                       : StatusCode::kIOError;
    return Err(Status(code, "cannot connect to " + path + ": " + std::strerror(errno)));
  }
  return fd;
}

Result<UniqueFd> ListenUnix(const std::string& path) {
  auto address = MakeAddress(path);
  if (!address) {
    return Err(address.error());
  }
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) {
    return Err(Status::FromErrno("socket", errno));
  }
  const auto* addr = reinterpret_cast<const sockaddr*>(&address->addr);
  if (::bind(fd.get(), addr, address->length) != 0) {
    if (errno != EADDRINUSE) {
      return Err(Status::FromErrno("cannot bind " + path, errno));
    }
    struct stat info {};
    if (::stat(path.c_str(), &info) == 0 && !S_ISSOCK(info.st_mode)) {
      return Err(Status::AlreadyExists(path + " exists and is not a socket"));
    }
    if (ConnectUnix(path)) {
      return Err(Status::AlreadyExists("another process listens on " + path));
    }
    ::unlink(path.c_str());
    if (::bind(fd.get(), addr, address->length) != 0) {
      return Err(Status::FromErrno("cannot bind " + path, errno));
    }
  }
  ::chmod(path.c_str(), 0600);
  if (::listen(fd.get(), kBacklog) != 0) {
    return Err(Status::FromErrno("cannot listen on " + path, errno));
  }
  return fd;
}

Result<PeerCredentials> GetPeerCredentials(int fd) {
  ucred credentials{};
  socklen_t length = sizeof(credentials);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) {
    return Err(Status::FromErrno("SO_PEERCRED", errno));
  }
  return PeerCredentials{credentials.pid, credentials.uid};
}

Status SetNonBlocking(int fd, bool non_blocking) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 ||
      ::fcntl(fd, F_SETFL, non_blocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) != 0) {
    return Status::FromErrno("fcntl", errno);
  }
  return Status::Ok();
}

void FdControl::Attach(msghdr* message, std::span<const int> fds) {
  std::memset(bytes_, 0, sizeof(bytes_));
  message->msg_control = bytes_;
  message->msg_controllen = CMSG_SPACE(fds.size_bytes());
  cmsghdr* header = CMSG_FIRSTHDR(message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(fds.size_bytes());
  std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
}

void FdControl::Prepare(msghdr* message) {
  message->msg_control = bytes_;
  message->msg_controllen = sizeof(bytes_);
}

std::vector<UniqueFd> FdControl::TakeFrom(const msghdr& message) {
  std::vector<UniqueFd> fds;
  for (const cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(const_cast<msghdr*>(&message), const_cast<cmsghdr*>(header))) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      fds.emplace_back(fd);
    }
  }
  return fds;
}

Status SendWithFds(int fd, std::string_view bytes, std::span<const int> fds) {
  if (fds.size() > kFdsPerMessageMax) {
    return Status::InvalidArgument("too many descriptors in one message");
  }
  iovec iov{const_cast<char*>(bytes.data()), bytes.size()};
  FdControl control;
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    control.Attach(&message, fds);
  }
  while (true) {
    const ssize_t sent = ::sendmsg(fd, &message, MSG_NOSIGNAL);
    if (sent >= 0) {
      const auto done = static_cast<size_t>(sent);
      return done == bytes.size() ? Status::Ok()
                                  : WriteAll(fd, bytes.data() + done, bytes.size() - done);
    }
    if (errno == EINTR) {
      continue;
    }
    if (errno == EPIPE || errno == ECONNRESET) {
      return Status::Disconnected("the peer has closed");
    }
    return Status::FromErrno("sendmsg", errno);
  }
}

Result<ReceivedWithFds> ReceiveWithFds(int fd, size_t bytes_max) {
  ReceivedWithFds received;
  received.bytes.resize(bytes_max);
  iovec iov{received.bytes.data(), bytes_max};
  FdControl control;
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  control.Prepare(&message);
  ssize_t got = 0;
  do {
    got = ::recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    if (errno == ECONNRESET) {
      got = 0;
    } else {
      return Err(Status::FromErrno("recvmsg", errno));
    }
  }
  received.fds = FdControl::TakeFrom(message);
  received.bytes.resize(static_cast<size_t>(got));
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    return Err(Status::IOError("a message was larger than its receiver allows"));
  }
  return received;
}

Status WriteAll(int fd, const void* data, size_t bytes) {
  const auto* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t done = ::send(fd, at, bytes, MSG_NOSIGNAL);
    if (done < 0) {
      if (errno == EINTR) {
        continue;
      }
      if (errno == EPIPE || errno == ECONNRESET) {
        return Status::Disconnected("the peer has closed");
      }
      return Status::FromErrno("send", errno);
    }
    at += done;
    bytes -= static_cast<size_t>(done);
  }
  return Status::Ok();
}

Status ReadAll(int fd, void* data, size_t bytes) {
  auto* at = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t done = ::recv(fd, at, bytes, 0);
    if (done < 0 && errno == EINTR) {
      continue;
    }
    if (done == 0 || (done < 0 && errno == ECONNRESET)) {
      return Status::Disconnected("the peer has closed");
    }
    if (done < 0) {
      return Status::FromErrno("recv", errno);
    }
    at += done;
    bytes -= static_cast<size_t>(done);
  }
  return Status::Ok();
}

}  // namespace rayc
