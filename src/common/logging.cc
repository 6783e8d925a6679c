#include "common/logging.h"

#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <system_error>

namespace rayc {
namespace {

constexpr size_t kLogBytesMax = 32UL << 20;
constexpr size_t kLogBackups = 2;

struct LogState {
  std::mutex mutex;
  // Guarded by mutex.
  std::string component = "rayc";
  std::string file;
  std::shared_ptr<spdlog::logger> logger;
};

// Leaked on purpose: runtime threads may log while static destructors run.
LogState& State() {
  static auto* state = new LogState;
  return *state;
}

std::atomic<int> threshold{static_cast<int>(LogLevel::kWarning)};

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kFatal:
      return spdlog::level::critical;
  }
  return spdlog::level::err;
}

std::shared_ptr<spdlog::logger> MakeLogger(const LogState& state) {
  std::shared_ptr<spdlog::sinks::sink> sink;
  // spdlog makes missing folders: the file's own may be made, but not a whole session folder that
  // was removed in the meantime.
  std::error_code ignored;
  const auto folder = std::filesystem::path(state.file).parent_path().parent_path();
  const bool has_place = folder.empty() || std::filesystem::is_directory(folder, ignored);
  if (!state.file.empty() && has_place) {
    try {
      sink = std::make_shared<spdlog::sinks::rotating_file_sink_mt>(state.file, kLogBytesMax,
                                                                    kLogBackups);
    } catch (const spdlog::spdlog_ex&) {
      sink = nullptr;  // An unwritable folder must not silence us: fall through to stderr.
    }
  }
  if (!sink) {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  }
  auto logger = std::make_shared<spdlog::logger>(state.component, sink);
  logger->set_level(spdlog::level::trace);
  logger->flush_on(spdlog::level::info);
  logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %L %n[%P] %v");
  return logger;
}

}  // namespace

void InitLogging(const std::string& component, LogLevel level, const std::string& file) {
  LogState& state = State();
  const std::lock_guard<std::mutex> lock(state.mutex);
  state.component = component;
  state.file = file;
  state.logger.reset();
  threshold.store(static_cast<int>(level), std::memory_order_relaxed);
}

LogLevel ParseLogLevel(const std::string& text, LogLevel fallback) {
  if (text == "debug") return LogLevel::kDebug;
  if (text == "info") return LogLevel::kInfo;
  if (text == "warning") return LogLevel::kWarning;
  if (text == "error") return LogLevel::kError;
  return fallback;
}

bool LogEnabled(LogLevel level) {
  return static_cast<int>(level) >= threshold.load(std::memory_order_relaxed);
}

void WriteLog(LogLevel level, const char* file, int line, const std::string& text) {
  LogState& state = State();
  const char* slash = std::strrchr(file, '/');
  const std::lock_guard<std::mutex> lock(state.mutex);
  if (!state.logger) {
    state.logger = MakeLogger(state);
  }
  state.logger->log(ToSpdlog(level), "{}:{} {}", slash ? slash + 1 : file, line, text);
}

LogMessage::~LogMessage() {
  WriteLog(level_, file_, line_, stream_.str());
  if (level_ == LogLevel::kFatal) {
    std::abort();
  }
}

}  // namespace rayc
