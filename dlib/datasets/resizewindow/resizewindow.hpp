// A window of a resized picture, with Pillow's arithmetic: each axis is a weighted sum in whole numbers, rows first,
// rounded to 8 bits after each axis.
#pragma once

#include <cstddef>
#include <cstdint>

// Throws std::invalid_argument for buffers whose sizes do not fit.
//
// pixels:            uint8 [height, width, 3], RGB.
// first_x, first_y:  int32 [columns], [rows]: the first pixel that counts for each output column and row.
// weights_x, _y:     int32 [columns, taps_x], [rows, taps_y]: its weight and those of the next pixels, in units of
//                    2^-22. No pixel outside the picture has a weight other than 0.
// out:               uint8 [3, rows, columns].
void resize_window(const unsigned char* pixels, std::size_t pixels_bytes, const unsigned char* first_x,
                   std::size_t first_x_bytes, const unsigned char* weights_x, std::size_t weights_x_bytes,
                   const unsigned char* first_y, std::size_t first_y_bytes, const unsigned char* weights_y,
                   std::size_t weights_y_bytes, unsigned char* out, std::size_t out_bytes, int height, int width);
