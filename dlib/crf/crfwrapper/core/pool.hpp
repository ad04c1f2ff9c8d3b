// A small pool of worker threads, so that the caller's OpenMP settings never change.
#pragma once

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>

namespace crf {

class Pool {
 public:
  using Task = std::function<void(int)>;

  // The pool of this process. A forked child has none of its parent's threads, so it starts its own pool.
  // Pools are never destroyed: their threads sleep until the process ends.
  static Pool& instance() {
    static std::atomic<Pool*> current{nullptr};
    Pool* pool = current.load();
    while (pool == nullptr || pool->pid_ != getpid()) {
      Pool* fresh = new Pool;
      if (current.compare_exchange_strong(pool, fresh)) return *fresh;
      delete fresh;
    }
    return *pool;
  }

  // Calls task(0) ... task(tasks - 1) on at most `threads` threads, the calling one among them, and waits.
  // The first exception is thrown again here. If another caller uses the pool, all tasks run on this thread.
  void run(int tasks, int threads, const Task& task) {
    std::unique_lock<std::mutex> mine(busy_, std::defer_lock);
    if (threads <= 1 || tasks <= 1 || !mine.try_lock()) {
      for (int i = 0; i < tasks; ++i) task(i);
      return;
    }
    const int helpers = (threads < tasks ? threads : tasks) - 1;
    start_workers(helpers);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      task_ = &task;
      tasks_ = tasks;
      helpers_ = helpers;
      entered_ = 0;
      next_ = 0;
      error_ = nullptr;
      open_ = true;
      ++generation_;
    }
    wake_.notify_all();
    work();
    // Workers that have not started by now are not waited for.
    {
      std::lock_guard<std::mutex> lock(mutex_);
      open_ = false;
    }
    for (int i = 0; i < kSpins && active_ != 0; ++i) relax();
    std::unique_lock<std::mutex> lock(mutex_);
    left_.wait(lock, [this] { return active_ == 0; });
    if (error_) std::rethrow_exception(error_);
  }

 private:
  // Phases of one filter follow each other within microseconds, so waiting starts with a busy loop of about 50
  // microseconds. The loop does not yield: on a loaded machine a yield can take milliseconds.
  static constexpr int kSpins = 2000;

  static void relax() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
  }

  void start_workers(int wanted) {
    try {
      for (; workers_ < wanted; ++workers_) std::thread([this] { serve(); }).detach();
    } catch (const std::system_error&) {
      // No more threads can be started: the existing ones do the work.
    }
  }

  void serve() {
    std::uint64_t seen = 0;
    for (;;) {
      for (int i = 0; i < kSpins && generation_ == seen; ++i) relax();
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return generation_ != seen; });
        seen = generation_;
        if (!open_ || entered_ == helpers_) continue;
        ++entered_;
        ++active_;
      }
      work();
      {
        std::lock_guard<std::mutex> lock(mutex_);
        if (--active_ == 0) left_.notify_one();
      }
    }
  }

  void work() {
    for (int i = next_++; i < tasks_; i = next_++) {
      try {
        (*task_)(i);
      } catch (...) {
        std::lock_guard<std::mutex> lock(mutex_);
        if (!error_) error_ = std::current_exception();
      }
    }
  }

  const pid_t pid_ = getpid();
  std::mutex busy_;   // held by the caller that uses the pool
  std::mutex mutex_;  // guards the job
  std::condition_variable wake_, left_;
  std::atomic<std::uint64_t> generation_{0};
  std::atomic<int> next_{0}, active_{0};
  const Task* task_ = nullptr;
  int tasks_ = 0, helpers_ = 0, entered_ = 0, workers_ = 0;
  bool open_ = false;
  std::exception_ptr error_;
};

}  // namespace crf
