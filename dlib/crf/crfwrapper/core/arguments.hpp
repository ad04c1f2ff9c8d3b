// Python arguments of the two extensions: float32 buffers, sizes, the number of threads.
#pragma once

#include <Python.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
#if defined(__linux__)
#include <sched.h>
#endif

#include "plan.hpp"

namespace crf {

// A flat view of a C-contiguous float32 array: anything with the buffer protocol, or a torch tensor on the CPU.
// Other numbers (lists, other types, other memory orders) are converted by NumPy. A result for such an array is
// computed in a copy, which write_back writes into it; only arrays of floats can take it.
class FloatArray {
 public:
  FloatArray() = default;
  FloatArray(const FloatArray&) = delete;
  FloatArray& operator=(const FloatArray&) = delete;
  ~FloatArray() {
    if (view_.obj != nullptr) PyBuffer_Release(&view_);
    Py_XDECREF(array_);
    Py_XDECREF(target_);
  }

  // False with TypeError or ValueError set if the object is not such an array.
  bool open(PyObject* object, bool writable, const char* name) {
    if (!PyObject_CheckBuffer(object) && PyObject_HasAttrString(object, "numpy")) {
      array_ = PyObject_CallMethod(object, "numpy", nullptr);
      if (array_ == nullptr) return refuse(PyExc_TypeError, name, "must be a CPU tensor without gradient or an array");
      object = array_;
    }
    if (view(object, writable)) return true;
    PyErr_Clear();
    return convert(object, writable, name);
  }

  // After the computation: its values in the caller's array; false with an exception set if that is impossible.
  bool write_back(const char* name) {
    if (target_ == nullptr) return true;
    PyObject* numpy = PyImport_ImportModule("numpy");
    PyObject* shape = numpy == nullptr ? nullptr : PyObject_GetAttrString(target_, "shape");
    PyObject* shaped = shape == nullptr ? nullptr : PyObject_CallMethod(array_, "reshape", "O", shape);
    PyObject* done = shaped == nullptr ? nullptr : PyObject_CallMethod(numpy, "copyto", "OO", target_, shaped);
    const bool good = done != nullptr;
    Py_XDECREF(done);
    Py_XDECREF(shaped);
    Py_XDECREF(shape);
    Py_XDECREF(numpy);
    return good || refuse(PyExc_ValueError, name, "cannot be written");
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
    PyObject* numpy = PyImport_ImportModule("numpy");
    if (numpy == nullptr) return refuse(PyExc_TypeError, name, "must be a C-contiguous float32 array");
    PyObject* array = PyObject_CallMethod(numpy, "asarray", "(O)", object);
    bool good = array != nullptr && is_numbers(array, writable ? "f" : "biuf") && (!writable || array == object);
    const bool locked = good && writable && !is_writable(array);
    good = good && !locked;
    PyObject* copy = good ? PyObject_CallMethod(numpy, "array", "Os", array, "float32") : nullptr;
    PyObject* flat = copy == nullptr ? nullptr : PyObject_CallMethod(copy, "ravel", nullptr);
    Py_XDECREF(copy);
    Py_DECREF(numpy);
    if (flat == nullptr || !view(flat, true)) {
      Py_XDECREF(flat);
      Py_XDECREF(array);
      if (locked) return refuse(PyExc_ValueError, name, "must be writable");
      return refuse(PyExc_TypeError, name,
                    writable ? "must be an array of floats, in which the result is written"
                             : "must be an array or a list of numbers");
    }
    Py_XDECREF(array_);
    array_ = flat;
    if (writable)
      target_ = array;
    else
      Py_DECREF(array);
    return true;
  }

  // Whether an array has at least one dimension and one of these kinds of numbers.
  static bool is_numbers(PyObject* array, const char* kinds) {
    PyObject* type = PyObject_GetAttrString(array, "dtype");
    PyObject* kind = type == nullptr ? nullptr : PyObject_GetAttrString(type, "kind");
    PyObject* dims = PyObject_GetAttrString(array, "ndim");
    const char* text = kind == nullptr ? nullptr : PyUnicode_AsUTF8(kind);
    const bool good =
        text != nullptr && std::strchr(kinds, text[0]) != nullptr && dims != nullptr && PyLong_AsLong(dims) > 0;
    Py_XDECREF(dims);
    Py_XDECREF(kind);
    Py_XDECREF(type);
    return good;
  }

  static bool is_writable(PyObject* array) {
    PyObject* flags = PyObject_GetAttrString(array, "flags");
    PyObject* flag = flags == nullptr ? nullptr : PyObject_GetAttrString(flags, "writeable");
    const bool good = flag != nullptr && PyObject_IsTrue(flag) == 1;
    Py_XDECREF(flag);
    Py_XDECREF(flags);
    return good;
  }

  static bool refuse(PyObject* type, const char* name, const char* what) {
    PyErr_Clear();
    PyErr_Format(type, "%s %s", name, what);
    return false;
  }

  Py_buffer view_ = {};
  PyObject* array_ = nullptr;   // whose memory is used, if it is not the caller's
  PyObject* target_ = nullptr;  // the caller's array for results
};

// Integer argument > 0; false with an exception set otherwise.
inline bool positive_int(PyObject* object, const char* name, std::int64_t* result) {
  PyObject* index = PyNumber_Index(object);
  if (index == nullptr) {
    PyErr_Clear();
    PyErr_Format(PyExc_TypeError, "%s must be an integer", name);
    return false;
  }
  int overflow = 0;
  *result = PyLong_AsLongLongAndOverflow(index, &overflow);
  Py_DECREF(index);
  if (overflow == 0 && *result > 0 && *result <= std::numeric_limits<std::int32_t>::max()) return true;
  PyErr_Format(PyExc_ValueError, "%s must be from 1 to 2147483647", name);
  return false;
}

// Finite float argument > 0; false with an exception set otherwise.
inline bool positive_float(PyObject* object, const char* name, float* result) {
  const double value = PyFloat_AsDouble(object);
  if (value == -1.0 && PyErr_Occurred()) {
    PyErr_Clear();
    PyErr_Format(PyExc_TypeError, "%s must be a number", name);
    return false;
  }
  *result = static_cast<float>(value <= std::numeric_limits<float>::max() ? value : 0);
  if (*result > 0) return true;
  PyErr_Format(PyExc_ValueError, "%s must be a finite number > 0", name);
  return false;
}

// Sequence of sequences of integers; false with TypeError set otherwise.
inline bool index_lists(PyObject* object, const char* name, std::vector<std::vector<std::ptrdiff_t>>* result) {
  PyObject* outer = PySequence_Fast(object, "");
  bool good = outer != nullptr;
  for (Py_ssize_t i = 0; good && i < PySequence_Fast_GET_SIZE(outer); ++i) {
    PyObject* inner = PySequence_Fast(PySequence_Fast_GET_ITEM(outer, i), "");
    good = inner != nullptr;
    result->emplace_back();
    for (Py_ssize_t j = 0; good && j < PySequence_Fast_GET_SIZE(inner); ++j) {
      result->back().push_back(PyNumber_AsSsize_t(PySequence_Fast_GET_ITEM(inner, j), nullptr));
      good = PyErr_Occurred() == nullptr;
    }
    Py_XDECREF(inner);
  }
  Py_XDECREF(outer);
  if (good) return true;
  PyErr_Clear();
  PyErr_Format(PyExc_TypeError, "%s must be a sequence of sequences of integers", name);
  return false;
}

// torch.get_num_threads() if the program has loaded torch, else the first number of OMP_NUM_THREADS, else the
// processors that this process may use. Needs the GIL.
inline int thread_count() {
  long count = 0;
  PyObject* modules = PyImport_GetModuleDict();
  PyObject* torch = PyDict_GetItemString(modules, "torch");
  if (torch != nullptr) {
    PyObject* answer = PyObject_CallMethod(torch, "get_num_threads", nullptr);
    if (answer != nullptr) count = PyLong_AsLong(answer);
    Py_XDECREF(answer);
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
