// C++ exceptions of all extensions as Python's.
%{
#include <new>
#include <stdexcept>
%}

%exception {
  try {
    $action
  } catch (const std::bad_alloc&) {
    PyErr_SetString(PyExc_MemoryError, "no memory for the arrays of $name");
    SWIG_fail;
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
    SWIG_fail;
  }
}
