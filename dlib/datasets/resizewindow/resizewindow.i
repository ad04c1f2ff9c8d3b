%module resizewindow
%{
#include <new>
#include <stdexcept>

#include "resizewindow.hpp"
%}
%include "stdint.i"
%include "pybuffer.i"
%pybuffer_binary(const unsigned char* pixels, std::size_t pixels_bytes)
%pybuffer_binary(const unsigned char* first_x, std::size_t first_x_bytes)
%pybuffer_binary(const unsigned char* weights_x, std::size_t weights_x_bytes)
%pybuffer_binary(const unsigned char* first_y, std::size_t first_y_bytes)
%pybuffer_binary(const unsigned char* weights_y, std::size_t weights_y_bytes)
%pybuffer_mutable_binary(unsigned char* out, std::size_t out_bytes)

%exception {
  try {
    $action
  } catch (const std::bad_alloc&) {
    PyErr_SetString(PyExc_MemoryError, "no memory for the picture");
    SWIG_fail;
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
    SWIG_fail;
  }
}
%include "resizewindow.hpp"
