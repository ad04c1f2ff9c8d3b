// Typemaps that both filters share.
%{
#include "arguments.hpp"
%}

%typemap(in) const crf::FloatArray& (crf::FloatArray array) {
  if (!array.open($input, false, "$1_name")) SWIG_fail;
  $1 = &array;
}
%typemap(in) crf::FloatArray& (crf::FloatArray array) {
  if (!array.open($input, true, "$1_name")) SWIG_fail;
  $1 = &array;
}
%typemap(argout) crf::FloatArray& { if (!$1->write_back("$1_name")) SWIG_fail; }
%typemap(argout) const crf::FloatArray& ""
%typemap(in) std::int64_t { if (!crf::positive_int($input, "$1_name", &$1)) SWIG_fail; }
%typemap(in) float { if (!crf::positive_float($input, "$1_name", &$1)) SWIG_fail; }
%typemap(in) const std::vector<std::vector<std::ptrdiff_t>>& (std::vector<std::vector<std::ptrdiff_t>> groups) {
  if (!crf::index_lists($input, "$1_name", &groups)) SWIG_fail;
  $1 = &groups;
}

%include "exceptions.i"
