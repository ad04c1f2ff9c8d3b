%module resizewindow
%{
#include "resizewindow.hpp"
%}
%include "pybuffer.i"
%pybuffer_binary(const unsigned char* pixels, std::size_t pixels_bytes)
%pybuffer_binary(const unsigned char* first_x, std::size_t first_x_bytes)
%pybuffer_binary(const unsigned char* weights_x, std::size_t weights_x_bytes)
%pybuffer_binary(const unsigned char* first_y, std::size_t first_y_bytes)
%pybuffer_binary(const unsigned char* weights_y, std::size_t weights_y_bytes)
%pybuffer_mutable_binary(unsigned char* out, std::size_t out_bytes)

%include "exceptions.i"
%include "resizewindow.hpp"
