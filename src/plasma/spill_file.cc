#include "plasma/spill_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

namespace rayc::plasma {
namespace {

// Small enough for the second-level cache, large enough that the system calls cost little.
constexpr uint64_t kBufferBytes = 128U << 10;
constexpr uint64_t kPipeBytes = 1U << 20;  // what the system allows to anybody

// All of it, in as many steps as it takes.
Status WriteAll(int fd, const uint8_t* data, uint64_t bytes, uint64_t offset) {
  while (bytes > 0) {
    const ssize_t count = ::pwrite(fd, data, bytes, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count <= 0) {
      return Status::FromErrno("write", count < 0 ? errno : ENOSPC);
    }
    data += count;
    offset += static_cast<uint64_t>(count);
    bytes -= static_cast<uint64_t>(count);
  }
  return Status::Ok();
}

// offset, bytes: what was to be read. Where several threads read, each may begin after the end.
Status EndsTooSoon(int fd, uint64_t offset, uint64_t bytes) {
  struct stat info {};
  const uint64_t end =
      ::fstat(fd, &info) == 0 ? std::min(offset, static_cast<uint64_t>(info.st_size)) : offset;
  return Status::IOError("it ends at byte " + std::to_string(end) + ", " +
                         std::to_string(offset + bytes - end) + " bytes too soon");
}

// The arena's file is in memory: what would be a full disk elsewhere is memory that ran out.
Status ArenaError(const Status& status) {
  return Status::OutOfMemory("cannot write to the object store's memory: " + status.message());
}

Status ReadAll(int fd, uint8_t* data, uint64_t bytes, uint64_t offset) {
  while (bytes > 0) {
    const ssize_t count = ::pread(fd, data, bytes, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return Status::FromErrno("read", errno);
    }
    if (count == 0) {
      return EndsTooSoon(fd, offset, bytes);
    }
    data += count;
    offset += static_cast<uint64_t>(count);
    bytes -= static_cast<uint64_t>(count);
  }
  return Status::Ok();
}

}  // namespace

SpillCopier::SpillCopier(std::shared_ptr<const Arena> arena)
    : arena_(std::move(arena)), buffer_(new uint8_t[kBufferBytes]) {}

Status SpillCopier::Write(const std::vector<Spiller::Extent>& extents, int fd, uint64_t offset) {
  uint64_t held = 0;  // small objects are gathered
  for (const Spiller::Extent& extent : extents) {
    for (uint64_t done = 0; done < extent.bytes;) {
      const uint64_t step = std::min(extent.bytes - done, kBufferBytes - held);
      RAYC_RETURN_NOT_OK(ReadAll(arena_->fd(), buffer_.get() + held, step, extent.offset + done));
      held += step;
      done += step;
      if (held == kBufferBytes) {
        RAYC_RETURN_NOT_OK(WriteAll(fd, buffer_.get(), held, offset));
        offset += held;
        held = 0;
      }
    }
  }
  return WriteAll(fd, buffer_.get(), held, offset);
}

Status SpillCopier::Read(int fd, uint64_t offset, uint64_t bytes, uint64_t arena_offset) {
  if (bytes > kBufferBytes && MakePipe()) {
    Status status = ReadByPipe(fd, offset, bytes, arena_offset);
    if (status.ok()) {
      return status;
    }
    ClosePipe();  // something may be left in it
    if (status.code() != StatusCode::kNotImplemented) {
      return status;
    }
  }
  return ReadByBuffer(fd, offset, bytes, arena_offset);
}

Status SpillCopier::ReadByBuffer(int fd, uint64_t offset, uint64_t bytes, uint64_t arena_offset) {
  while (bytes > 0) {
    const uint64_t step = std::min(bytes, kBufferBytes);
    RAYC_RETURN_NOT_OK(ReadAll(fd, buffer_.get(), step, offset));
    const Status status = WriteAll(arena_->fd(), buffer_.get(), step, arena_offset);
    if (!status.ok()) {
      return ArenaError(status);
    }
    offset += step;
    arena_offset += step;
    bytes -= step;
  }
  return Status::Ok();
}

Status SpillCopier::ReadByPipe(int fd, uint64_t offset, uint64_t bytes, uint64_t arena_offset) {
  while (bytes > 0) {
    auto from = static_cast<off64_t>(offset);
    const ssize_t count =
        ::splice(fd, &from, pipe_in_.get(), nullptr, std::min(bytes, kPipeBytes), 0);
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return errno == EINVAL ? Status(StatusCode::kNotImplemented, "splice")
                             : Status::FromErrno("read", errno);
    }
    if (count == 0) {
      return EndsTooSoon(fd, offset, bytes);
    }
    const auto step = static_cast<uint64_t>(count);
    RAYC_RETURN_NOT_OK(EmptyPipe(step, arena_offset));
    offset += step;
    arena_offset += step;
    bytes -= step;
  }
  return Status::Ok();
}

Status SpillCopier::EmptyPipe(uint64_t bytes, uint64_t arena_offset) {
  while (bytes > 0) {
    auto to = static_cast<off64_t>(arena_offset);
    const ssize_t count = ::splice(pipe_out_.get(), nullptr, arena_->fd(), &to, bytes, 0);
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count <= 0) {
      return ArenaError(Status::FromErrno("splice", count < 0 ? errno : ENOSPC));
    }
    arena_offset += static_cast<uint64_t>(count);
    bytes -= static_cast<uint64_t>(count);
  }
  return Status::Ok();
}

bool SpillCopier::MakePipe() {
  if (pipe_in_.valid()) {
    return true;
  }
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return false;
  }
  pipe_out_.Reset(ends[0]);
  pipe_in_.Reset(ends[1]);
  ::fcntl(pipe_in_.get(), F_SETPIPE_SZ, static_cast<int>(kPipeBytes));  // else smaller steps
  return true;
}

void SpillCopier::ClosePipe() {
  pipe_in_.Reset();
  pipe_out_.Reset();
}

}  // namespace rayc::plasma
