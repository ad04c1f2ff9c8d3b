// Python arguments of the two extensions: float32 buffers, sizes, the number of threads.
#pragma once

#include <Python.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>
#if defined(__linux__)
#include <sched.h>
#endif

#include "plan.hpp"

namespace crf {

struct Release {
  void operator()(PyObject* object) const { Py_DECREF(object); }
};
// A reference to a Python object; null where a call has failed.
using Owned = std::unique_ptr<PyObject, Release>;

inline Owned attribute(const Owned& object, const char* name) {
  return Owned(object ? PyObject_GetAttrString(object.get(), name) : nullptr);
}

// Sets an exception in place of one that may be set; false.
inline bool refuse(PyObject* type, const char* name, const char* what) {
  PyErr_Clear();
  PyErr_Format(type, "%s %s", name, what);
  return false;
}

// A flat view of a C-contiguous float32 array: anything with the buffer protocol, or a torch tensor on the CPU.
// Other numbers (lists, other types, other memory orders) are converted by NumPy. A result for such an array is
// computed in a copy, which write_back writes into it; only arrays of floats can take it.
class FloatArray {
 public:
  ~FloatArray() {
    if (view_.obj != nullptr) PyBuffer_Release(&view_);
  }

  // False with TypeError or ValueError set if the object is not such an array.
  bool open(PyObject* object, bool writable, const char* name) {
    if (!PyObject_CheckBuffer(object) && PyObject_HasAttrString(object, "numpy")) {
      array_.reset(PyObject_CallMethod(object, "numpy", nullptr));
      if (!array_) return refuse(PyExc_TypeError, name, "must be a CPU tensor without gradient or an array");
      object = array_.get();
    }
    if (view(object, writable)) return true;
    PyErr_Clear();
    return convert(object, writable, name);
  }

  // After the computation: its values in the caller's array; false with an exception set if that is impossible.
  bool write_back(const char* name) {
    if (!target_) return true;
    const Owned numpy(PyImport_ImportModule("numpy"));
    const Owned done(numpy ? PyObject_CallMethod(numpy.get(), "copyto", "OO", target_.get(), array_.get()) : nullptr);
    return done || refuse(PyExc_ValueError, name, "cannot be written");
  }

  float* data() const { return static_cast<float*>(view_.buf); }
  std::int64_t size() const { return view_.len / static_cast<Py_ssize_t>(sizeof(float)); }

 private:
  // Whether the object's own memory can be used; an exception may be set if not.
  bool view(PyObject* object, bool writable) {
    if (!PyObject_CheckBuffer(object)) return false;
    if (PyObject_GetBuffer(object, &view_, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0)) != 0)
      return false;
    const std::string format = view_.format == nullptr ? "B" : view_.format;
    if ((format == "f" || format == "=f" || format == "@f") && view_.itemsize == sizeof(float) &&
        reinterpret_cast<std::uintptr_t>(view_.buf) % alignof(float) == 0)
      return true;
    PyBuffer_Release(&view_);
    view_ = {};
    return false;
  }

  // A float32 copy of numbers in another form. For results, `object` must be a writable NumPy array of floats.
  bool convert(PyObject* object, bool writable, const char* name) {
    const Owned numpy(PyImport_ImportModule("numpy"));
    if (!numpy) return refuse(PyExc_TypeError, name, "must be a C-contiguous float32 array");
    Owned given(PyObject_CallMethod(numpy.get(), "asarray", "(O)", object));
    const bool good = is_numbers(given, writable ? "f" : "biuf") && (!writable || given.get() == object);
    if (good && writable && !is_writable(given)) return refuse(PyExc_ValueError, name, "must be writable");
    Owned copy(good ? PyObject_CallMethod(numpy.get(), "require", "Oss", given.get(), "float32", "CAW") : nullptr);
    if (!copy || !view(copy.get(), true))
      return refuse(PyExc_TypeError, name,
                    writable ? "must be an array of floats, in which the result is written"
                             : "must be an array or a list of numbers");
    array_ = std::move(copy);
    if (writable) target_ = std::move(given);
    return true;
  }

  // Whether this is an array of at least one dimension and of one of these kinds of numbers.
  static bool is_numbers(const Owned& array, const char* kinds) {
    const Owned kind = attribute(attribute(array, "dtype"), "kind"), dims = attribute(array, "ndim");
    const char* text = kind ? PyUnicode_AsUTF8(kind.get()) : nullptr;
    return text != nullptr && std::strchr(kinds, text[0]) != nullptr && dims && PyLong_AsLong(dims.get()) > 0;
  }

  static bool is_writable(const Owned& array) {
    const Owned flag = attribute(attribute(array, "flags"), "writeable");
    return flag && PyObject_IsTrue(flag.get()) == 1;
  }

  Py_buffer view_ = {};
  Owned array_;   // whose memory is used, if it is not the caller's
  Owned target_;  // the caller's array for results
};

// Integer argument > 0; false with an exception set otherwise.
inline bool positive_int(PyObject* object, const char* name, std::int64_t* result) {
  const Owned index(PyNumber_Index(object));
  if (!index) return refuse(PyExc_TypeError, name, "must be an integer");
  int overflow = 0;
  *result = PyLong_AsLongLongAndOverflow(index.get(), &overflow);
  if (overflow == 0 && *result > 0 && *result <= std::numeric_limits<std::int32_t>::max()) return true;
  return refuse(PyExc_ValueError, name, "must be from 1 to 2147483647");
}

// Finite float argument > 0; false with an exception set otherwise.
inline bool positive_float(PyObject* object, const char* name, float* result) {
  const double value = PyFloat_AsDouble(object);
  if (value == -1.0 && PyErr_Occurred()) return refuse(PyExc_TypeError, name, "must be a number");
  *result = static_cast<float>(value <= std::numeric_limits<float>::max() ? value : 0);
  if (*result > 0) return true;
  return refuse(PyExc_ValueError, name, "must be a finite number > 0");
}

// Sequence of sequences of integers; false with TypeError set otherwise.
inline bool index_lists(PyObject* object, const char* name, std::vector<std::vector<std::ptrdiff_t>>* result) {
  const Owned outer(PySequence_Fast(object, ""));
  bool good = outer != nullptr;
  for (Py_ssize_t i = 0; good && i < PySequence_Fast_GET_SIZE(outer.get()); ++i) {
    const Owned inner(PySequence_Fast(PySequence_Fast_GET_ITEM(outer.get(), i), ""));
    good = inner != nullptr;
    result->emplace_back();
    for (Py_ssize_t j = 0; good && j < PySequence_Fast_GET_SIZE(inner.get()); ++j) {
      result->back().push_back(PyNumber_AsSsize_t(PySequence_Fast_GET_ITEM(inner.get(), j), nullptr));
      good = PyErr_Occurred() == nullptr;
    }
  }
  return good || refuse(PyExc_TypeError, name, "must be a sequence of sequences of integers");
}

// torch.get_num_threads() if the program has loaded torch, else the first number of OMP_NUM_THREADS, else the
// processors that this process may use. Needs the GIL.
inline int thread_count() {
  long count = 0;
  PyObject* modules = PyImport_GetModuleDict();
  PyObject* torch = PyDict_GetItemString(modules, "torch");
  if (torch != nullptr) {
    const Owned answer(PyObject_CallMethod(torch, "get_num_threads", nullptr));
    if (answer) count = PyLong_AsLong(answer.get());
    PyErr_Clear();  // a half-imported torch gives no answer
  }
  if (count < 1) {
    const char* asked = std::getenv("OMP_NUM_THREADS");
    if (asked != nullptr) count = std::strtol(asked, nullptr, 10);
  }
#if defined(__linux__)
  cpu_set_t allowed;
  if (count < 1 && sched_getaffinity(0, sizeof(allowed), &allowed) == 0) count = CPU_COUNT(&allowed);
#endif
  if (count < 1) count = static_cast<long>(std::thread::hardware_concurrency());
  return static_cast<int>(count < 1 ? 1 : count > 256 ? 256 : count);
}

// Lets other Python threads run during a computation.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;
  ~WithoutGil() {
    // An interpreter that shuts down ends a daemon thread that waits for the GIL by unwinding its stack, and that
    // aborts the process in a destructor. Such a thread waits here for the process to end instead.
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {
      for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    }
  }

 private:
  PyThreadState* state_;
};

// Throws std::invalid_argument unless `array` holds exactly a * b * c * d floats (all factors > 0).
inline void check_length(const FloatArray& array, const char* name, const char* meaning, std::int64_t a, std::int64_t b,
                         std::int64_t c, std::int64_t d) {
  std::int64_t wanted = a;
  bool overflow = false;
  for (std::int64_t factor : {b, c, d}) overflow |= __builtin_mul_overflow(wanted, factor, &wanted);
  if (!overflow && array.size() == wanted) return;
  throw std::invalid_argument(std::string(name) + " must hold " + meaning + " = " +
                              (overflow ? "far too many" : std::to_string(wanted)) + " floats, not " +
                              std::to_string(array.size()));
}

// K as the filter needs it; throws std::invalid_argument for more channels than it supports.
inline int checked_channels(std::int64_t K) {
  if (K > kMaxChannels) throw std::invalid_argument("K must be at most " + std::to_string(kMaxChannels));
  return static_cast<int>(K);
}

// Value channels of a single image's flat array: its length over H * W.
inline std::int64_t channels_of(const FloatArray& values, std::int64_t height, std::int64_t width) {
  const std::int64_t pixels = height * width;  // both below 2^31
  if (values.size() < pixels || values.size() % pixels != 0)
    throw std::invalid_argument("in must hold a multiple of H * W = " + std::to_string(pixels) + " floats, not " +
                                std::to_string(values.size()));
  return values.size() / pixels;
}

}  // namespace crf
