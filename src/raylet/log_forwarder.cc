#include "raylet/log_forwarder.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "common/unix_socket.h"

namespace rayc::raylet {
namespace {

constexpr size_t kBytesPerTurn = 64UL << 10;
// More than a pipe holds: what was written before a flush is read by it, and what is written
// meanwhile cannot keep it from ending.
constexpr size_t kBytesPerFlush = 1UL << 20;
constexpr int64_t kPartialLineMs = 200;
constexpr size_t kTailLines = 20;
constexpr size_t kTailLineBytes = 1'000;
constexpr size_t kFinishedFilesMax = 200;

}  // namespace

LogForwarder::LogForwarder(EventLoop& loop, std::string log_dir, Sink sink)
    : loop_(loop), log_dir_(std::move(log_dir)), sink_(std::move(sink)) {}

LogForwarder::~LogForwarder() {
  for (auto& [id, log] : workers_) {
    CloseStream(log->out);
    CloseStream(log->err);
    if (log->partial_timer != 0) {
      loop_.CancelTimer(log->partial_timer);
    }
  }
}

Result<WorkerOutputs> LogForwarder::Open(const WorkerId& worker) {
  auto log = std::make_unique<WorkerLog>();
  log->id = worker;
  log->err.is_stderr = true;
  WorkerOutputs outputs;
  const auto make = [&](Stream& stream, UniqueFd& write_end) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
      return Status::FromErrno("pipe2", errno);
    }
    stream.fd.Reset(ends[0]);
    write_end.Reset(ends[1]);
    return SetNonBlocking(ends[0], true);
  };
  Status status = make(log->out, outputs.stdout_fd);
  if (status.ok()) {
    status = make(log->err, outputs.stderr_fd);
  }
  if (!status.ok()) {
    return Err(status);
  }
  for (Stream* stream : {&log->out, &log->err}) {
    loop_.AddFd(stream->fd.get(), EPOLLIN,
                [this, worker, is_stderr = stream->is_stderr](uint32_t /*events*/) {
                  OnReadable(worker, is_stderr);
                });
  }
  workers_[worker] = std::move(log);
  return outputs;
}

void LogForwarder::SetPid(const WorkerId& worker, pid_t pid) {
  const auto it = workers_.find(worker);
  if (it == workers_.end() || it->second->pid != 0) {
    return;
  }
  it->second->pid = pid;
  const std::string path = log_dir_ + "/worker-" + std::to_string(pid);
  it->second->out.file.SetPath(path + ".out");
  it->second->err.file.SetPath(path + ".err");
}

void LogForwarder::SetTask(const WorkerId& worker, const JobId& job, const std::string& name) {
  const auto it = workers_.find(worker);
  if (it == workers_.end() || (it->second->job_id == job && it->second->name == name)) {
    return;
  }
  if (!it->second->job_id.IsNil()) {
    Flush(worker);
  }
  it->second->job_id = job;
  it->second->name = name;
}

void LogForwarder::OnReadable(const WorkerId& worker, bool is_stderr) {
  const auto it = workers_.find(worker);
  if (it == workers_.end()) {
    return;
  }
  WorkerLog& log = *it->second;
  WorkerLines lines;
  ReadStream(log, is_stderr ? log.err : log.out, kBytesPerTurn, lines);
  ArmPartialTimer(log);
  Send(log, std::move(lines));
}

void LogForwarder::ReadStream(WorkerLog& log, Stream& stream, size_t bytes_max,
                              WorkerLines& lines) {
  char chunk[16 << 10];
  size_t total = 0;
  while (stream.fd.valid() && total < bytes_max) {
    const ssize_t got = ::read(stream.fd.get(), chunk, sizeof(chunk));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      return;
    }
    if (got <= 0) {
      CloseStream(stream);  // nobody can write to it any more
      return;
    }
    total += static_cast<size_t>(got);
    const std::string_view bytes(chunk, static_cast<size_t>(got));
    stream.file.Write(bytes);
    std::vector<std::string> texts;
    stream.splitter.Feed(bytes, texts);
    Take(log, stream, std::move(texts), lines);
  }
}

void LogForwarder::ArmPartialTimer(WorkerLog& log) {
  const bool partial = log.out.splitter.HasPartial() || log.err.splitter.HasPartial();
  if (!partial || log.partial_timer != 0) {
    return;
  }
  log.partial_timer = loop_.RunAfter(kPartialLineMs, [this, worker = log.id] {
    const auto it = workers_.find(worker);
    if (it == workers_.end()) {
      return;
    }
    it->second->partial_timer = 0;
    WorkerLines lines;
    FlushPartial(*it->second, it->second->out, lines);
    FlushPartial(*it->second, it->second->err, lines);
    Send(*it->second, std::move(lines));
  });
}

void LogForwarder::FlushPartial(WorkerLog& log, Stream& stream, WorkerLines& lines) {
  std::vector<std::string> texts;
  stream.splitter.Flush(texts);
  Take(log, stream, std::move(texts), lines);
}

void LogForwarder::Take(WorkerLog& log, const Stream& stream, std::vector<std::string> texts,
                        WorkerLines& lines) {
  for (std::string& text : texts) {
    if (stream.is_stderr) {
      log.stderr_tail.push_back(text.substr(0, kTailLineBytes));
      if (log.stderr_tail.size() > kTailLines) {
        log.stderr_tail.pop_front();
      }
    }
    lines.lines.push_back({std::move(text), stream.is_stderr});
  }
}

void LogForwarder::Flush(const WorkerId& worker) {
  const auto it = workers_.find(worker);
  if (it == workers_.end()) {
    return;
  }
  WorkerLog& log = *it->second;
  WorkerLines lines;
  for (Stream* stream : {&log.out, &log.err}) {
    ReadStream(log, *stream, kBytesPerFlush, lines);
    FlushPartial(log, *stream, lines);
  }
  Send(log, std::move(lines));
}

std::string LogForwarder::Close(const WorkerId& worker) {
  Flush(worker);
  const auto it = workers_.find(worker);
  if (it == workers_.end()) {
    return {};
  }
  WorkerLog& log = *it->second;
  std::string tail;
  for (const std::string& line : log.stderr_tail) {
    tail += line + '\n';
  }
  for (Stream* stream : {&log.out, &log.err}) {
    CloseStream(*stream);
    KeepFileCountBounded(stream->file);
  }
  if (log.partial_timer != 0) {
    loop_.CancelTimer(log.partial_timer);
  }
  workers_.erase(it);
  return tail;
}

void LogForwarder::CloseStream(Stream& stream) {
  if (stream.fd.valid()) {
    loop_.RemoveFd(stream.fd.get());
    stream.fd.Reset();
  }
}

void LogForwarder::KeepFileCountBounded(const LogFile& file) {
  if (!file.exists()) {
    return;
  }
  finished_files_.push_back(file.path());
  if (finished_files_.size() > kFinishedFilesMax) {
    ::unlink(finished_files_.front().c_str());
    finished_files_.pop_front();
  }
}

void LogForwarder::Send(WorkerLog& log, WorkerLines lines) {
  if (lines.lines.empty()) {
    return;
  }
  lines.job_id = log.job_id;
  lines.worker = log.id;
  lines.pid = log.pid;
  lines.name = log.name;
  sink_(std::move(lines));
}

}  // namespace rayc::raylet
