%module bilateralfilter
%{
#include "bilateralfilter.hpp"
%}
%include "../core/arguments.i"
%include "bilateralfilter.hpp"
