// Where the GCS keeps its tables: byte keys and values in named tables, behind one interface, so
// that a store in memory, in a file or in another process serve alike. Owned by the GcsServer; loop
// thread only. A store may answer before a call returns, or later; calls on one key take effect in
// order.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"

namespace rayc::gcs {

class StoreClient {
 public:
  template <typename T>
  using Callback = std::function<void(Result<T>)>;
  virtual ~StoreClient() = default;

  // Gives whether the key was there before; its value is then replaced only if `overwrite`.
  virtual void Put(const std::string& table, std::string key, std::string value, bool overwrite,
                   Callback<bool> callback) = 0;
  virtual void Get(const std::string& table, const std::string& key,
                   Callback<std::optional<std::string>> callback) = 0;
  // Gives how many went.
  virtual void Delete(const std::string& table, const std::string& key,
                      Callback<uint32_t> callback) = 0;
  virtual void DeletePrefix(const std::string& table, const std::string& prefix,
                            Callback<uint32_t> callback) = 0;
  // In the order of their bytes.
  virtual void Keys(const std::string& table, const std::string& prefix,
                    Callback<std::vector<std::string>> callback) = 0;
};

// Lost with its process. Answers before each call returns.
class MemoryStore final : public StoreClient {
 public:
  void Put(const std::string& table, std::string key, std::string value, bool overwrite,
           Callback<bool> callback) override;
  void Get(const std::string& table, const std::string& key,
           Callback<std::optional<std::string>> callback) override;
  void Delete(const std::string& table, const std::string& key,
              Callback<uint32_t> callback) override;
  void DeletePrefix(const std::string& table, const std::string& prefix,
                    Callback<uint32_t> callback) override;
  void Keys(const std::string& table, const std::string& prefix,
            Callback<std::vector<std::string>> callback) override;

 private:
  using Table = std::map<std::string, std::string>;
  std::map<std::string, Table> tables_;  // no empty ones
};

}  // namespace rayc::gcs
