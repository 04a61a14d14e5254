// reliable-channel for C++17: what reliable_channel.h gives, given back by itself, and errors as exceptions.
// Everything that header says of threads, memory and errors holds here. docs/bindings.md has the calls.
#ifndef RELIABLE_CHANNEL_HPP
#define RELIABLE_CHANNEL_HPP

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "reliable_channel.h"

namespace reliable_channel {

// A call that failed: its code, and a text for people.
class Error : public std::exception {
public:
    explicit Error(rc_code code) : code_(code), text_(rc_last_error()) {}
    rc_code code() const noexcept { return code_; }
    const char* what() const noexcept override { return text_.c_str(); }

private:
    rc_code code_;
    std::string text_;
};

inline void check(rc_code code) {
    if (code != RC_OK) throw Error(code);
}

inline rc_bytes bytes(std::string_view text) noexcept {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

inline std::string_view view(rc_bytes bytes) noexcept {
    return {reinterpret_cast<const char*>(bytes.data), bytes.len};
}

// Bytes that a call gave.
class Buffer {
public:
    Buffer() noexcept = default;
    Buffer(Buffer&& other) noexcept : buffer_(std::exchange(other.buffer_, {})) {}
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(buffer_, other.buffer_);
        return *this;
    }
    ~Buffer() { rc_buffer_free(&buffer_); }
    std::string_view view() const noexcept { return {reinterpret_cast<const char*>(buffer_.data), buffer_.len}; }
    std::string string() const { return std::string(view()); }
    rc_buffer* into() noexcept { return &buffer_; }

private:
    rc_buffer buffer_{};
};

template <typename T, void (*give_back)(T*)>
struct GiveBack {
    void operator()(T* owned) const noexcept { give_back(owned); }
};

using Event = std::unique_ptr<rc_event, GiveBack<rc_event, rc_event_free>>;
using Unwrapped = std::unique_ptr<rc_unwrapped, GiveBack<rc_unwrapped, rc_unwrapped_free>>;
using Log = std::unique_ptr<rc_log, GiveBack<rc_log, rc_log_free>>;

struct Wrapped {
    Buffer id, bytes;
};

// A network of the host's. An exception out of `publish` counts as RC_PUBLISH_LATER.
struct Transport {
    std::size_t max_bytes = 65536;
    std::function<int(std::string_view topic, std::string_view to, std::string_view bytes)> publish;
};

class Options {
public:
    explicit Options(std::string_view participant) : options_(rc_options_new(bytes(participant))) {
        if (!options_) throw Error(RC_ERR_ARGUMENT);
    }
    Options(const Options&) = delete;
    Options& operator=(const Options&) = delete;
    ~Options() { rc_options_free(options_); }

    Options& set(rc_option option, std::uint64_t value) {
        check(rc_options_set(options_, option, value));
        return *this;
    }
    Options& store(std::string_view directory) {
        check(rc_options_store(options_, bytes(directory)));
        return *this;
    }
    Options& transport(Transport transport) {
        transport_ = std::make_shared<Transport>(std::move(transport));
        rc_transport given{transport_->max_bytes, publish, nullptr, transport_.get()};
        check(rc_options_transport(options_, &given));
        return *this;
    }

private:
    friend class Manager;

    static int publish(rc_bytes topic, rc_bytes to, rc_bytes sent, void* user_data) noexcept try {
        return static_cast<Transport*>(user_data)->publish(view(topic), view(to), view(sent));
    } catch (...) {
        return RC_PUBLISH_LATER;
    }

    rc_options* options_;
    std::shared_ptr<Transport> transport_;
};

// A participant in any number of channels.
class Manager {
public:
    explicit Manager(const Options& options) : transport_(options.transport_) {
        check(rc_open(options.options_, &manager_));
    }
    Manager(const Manager&) = delete;
    Manager& operator=(const Manager&) = delete;
    ~Manager() {
        if (manager_) rc_close(manager_);
    }

    // Saves and ends; the destructor does so too, but cannot say what could not be saved.
    void close() { check(rc_close(std::exchange(manager_, nullptr))); }

    void join(std::string_view channel) { check(rc_join(manager_, bytes(channel))); }
    void leave(std::string_view channel) { check(rc_leave(manager_, bytes(channel))); }
    void forget(std::string_view channel) { check(rc_forget(manager_, bytes(channel))); }

    // Without a transport.
    Wrapped wrap(std::string_view channel, std::string_view content, std::string_view id = {}) {
        Wrapped wrapped;
        check(rc_wrap(manager_, bytes(channel), bytes(id), bytes(content), wrapped.id.into(), wrapped.bytes.into()));
        return wrapped;
    }
    Unwrapped unwrap(std::string_view message) {
        rc_unwrapped* unwrapped = nullptr;
        check(rc_unwrap(manager_, bytes(message), &unwrapped));
        return Unwrapped(unwrapped);
    }

    // With one.
    Buffer send(std::string_view channel, std::string_view content) {
        Buffer id;
        check(rc_send(manager_, bytes(channel), bytes(content), id.into()));
        return id;
    }
    void receive(std::string_view topic, std::string_view message, std::string_view from = {}) {
        check(rc_receive(manager_, bytes(topic), bytes(from), bytes(message)));
    }

    // The next event; empty when there was none in that time.
    Event next_event(std::chrono::milliseconds timeout) {
        rc_event* event = nullptr;
        const rc_code code = rc_next_event(manager_, timeout.count(), &event);
        if (code != RC_TIMEOUT && code != RC_ENDED) check(code);
        return Event(event);
    }
    int event_fd() {
        int descriptor = -1;
        check(rc_event_fd(manager_, &descriptor));
        return descriptor;
    }

    Log log(std::string_view channel) {
        rc_log* log = nullptr;
        check(rc_log_read(manager_, bytes(channel), &log));
        return Log(log);
    }
    void catch_up(std::string_view channel) { check(rc_catch_up(manager_, bytes(channel))); }
    rc_sync sync_status(std::string_view channel) {
        rc_sync status{};
        check(rc_sync_status(manager_, bytes(channel), &status, nullptr, nullptr));
        return status;
    }

    rc_manager* get() const noexcept { return manager_; }

private:
    std::shared_ptr<Transport> transport_; // outlives the manager
    rc_manager* manager_ = nullptr;
};

} // namespace reliable_channel

#endif
