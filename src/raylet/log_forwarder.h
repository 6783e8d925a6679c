// What workers write to stdout and stderr: read from their pipes, handed on line by line to the
// driver of the worker's job, kept in bounded files, and the last lines kept for the record of its
// death. Owned by Node; loop thread only.
//
// A pipe is read a bounded amount per turn of the loop, so that a worker that writes without end
// blocks on its full pipe and does not hold up the others.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/event_loop.h"
#include "common/ids.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "raylet/line_splitter.h"
#include "raylet/log_file.h"

namespace rayc::raylet {

struct WorkerLine {
  std::string text;
  bool is_stderr = false;
};

// Lines of one worker, for the driver of `job_id`.
struct WorkerLines {
  JobId job_id;
  WorkerId worker;
  pid_t pid = 0;
  std::string name;  // of its task or actor
  std::vector<WorkerLine> lines;
};

struct WorkerOutputs {  // the ends that the worker writes to
  UniqueFd stdout_fd;
  UniqueFd stderr_fd;
};

class LogForwarder {
 public:
  using Sink = std::function<void(WorkerLines)>;

  LogForwarder(EventLoop& loop, std::string log_dir, Sink sink);
  ~LogForwarder();

  Result<WorkerOutputs> Open(const WorkerId& worker);
  void SetPid(const WorkerId& worker, pid_t pid);
  // What follows belongs to this task or actor. What came before goes to whom it belonged to.
  void SetTask(const WorkerId& worker, const JobId& job, const std::string& name);
  // Everything that the worker has written by now goes to the sink during this call.
  void Flush(const WorkerId& worker);
  // Flushes, forgets the worker, and returns the last lines it wrote to stderr.
  std::string Close(const WorkerId& worker);

 private:
  struct Stream {
    UniqueFd fd;
    bool is_stderr = false;
    LineSplitter splitter;
    LogFile file;
  };
  struct WorkerLog {
    WorkerId id;
    pid_t pid = 0;
    JobId job_id;
    std::string name;
    Stream out;
    Stream err;
    std::deque<std::string> stderr_tail;
    EventLoop::TimerId partial_timer = 0;  // 0: none runs
  };

  void OnReadable(const WorkerId& worker, bool is_stderr);
  void ReadStream(WorkerLog& log, Stream& stream, size_t bytes_max, WorkerLines& lines);
  void FlushPartial(WorkerLog& log, Stream& stream, WorkerLines& lines);
  static void Take(WorkerLog& log, const Stream& stream, std::vector<std::string> texts,
                   WorkerLines& lines);
  void ArmPartialTimer(WorkerLog& log);
  void CloseStream(Stream& stream);
  void Send(WorkerLog& log, WorkerLines lines);
  void KeepFileCountBounded(const LogFile& file);

  EventLoop& loop_;
  const std::string log_dir_;
  const Sink sink_;
  std::unordered_map<WorkerId, std::unique_ptr<WorkerLog>> workers_;
  std::deque<std::string> finished_files_;  // of dead workers, oldest first
};

}  // namespace rayc::raylet
