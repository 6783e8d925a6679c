#include "gcs/table_store.h"

#include <utility>

namespace rayc::gcs {
namespace {

bool HasPrefix(const std::string& key, const std::string& prefix) {
  return key.compare(0, prefix.size(), prefix) == 0;
}

}  // namespace

void MemoryStore::Put(const std::string& table, std::string key, std::string value, bool overwrite,
                      Callback<bool> callback) {
  const auto [it, inserted] = tables_[table].try_emplace(std::move(key));
  if (inserted || overwrite) {
    it->second = std::move(value);
  }
  callback(!inserted);
}

void MemoryStore::Get(const std::string& table, const std::string& key,
                      Callback<std::optional<std::string>> callback) {
  std::optional<std::string> value;
  if (const auto it = tables_.find(table); it != tables_.end()) {
    if (const auto entry = it->second.find(key); entry != it->second.end()) {
      value = entry->second;
    }
  }
  callback(std::move(value));
}

void MemoryStore::Delete(const std::string& table, const std::string& key,
                         Callback<uint32_t> callback) {
  uint32_t count = 0;
  if (const auto it = tables_.find(table); it != tables_.end()) {
    count = static_cast<uint32_t>(it->second.erase(key));
    if (it->second.empty()) {
      tables_.erase(it);
    }
  }
  callback(count);
}

void MemoryStore::DeletePrefix(const std::string& table, const std::string& prefix,
                               Callback<uint32_t> callback) {
  uint32_t count = 0;
  if (const auto it = tables_.find(table); it != tables_.end()) {
    auto entry = it->second.lower_bound(prefix);
    while (entry != it->second.end() && HasPrefix(entry->first, prefix)) {
      entry = it->second.erase(entry);
      ++count;
    }
    if (it->second.empty()) {
      tables_.erase(it);
    }
  }
  callback(count);
}

void MemoryStore::Keys(const std::string& table, const std::string& prefix,
                       Callback<std::vector<std::string>> callback) {
  std::vector<std::string> keys;
  if (const auto it = tables_.find(table); it != tables_.end()) {
    for (auto entry = it->second.lower_bound(prefix);
         entry != it->second.end() && HasPrefix(entry->first, prefix); ++entry) {
      keys.push_back(entry->first);
    }
  }
  callback(std::move(keys));
}

}  // namespace rayc::gcs
