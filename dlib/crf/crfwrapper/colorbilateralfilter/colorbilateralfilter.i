%module colorbilateralfilter
%{
#include "colorbilateralfilter.hpp"
%}
%include "../core/arguments.i"
%include "colorbilateralfilter.hpp"
