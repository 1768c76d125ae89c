// An RGB image with the few drawing operations that the pictures need, and its PNG file.
// Coordinates are pixels from the upper left; shapes take real numbers, have smooth edges and are clipped to the image.
#ifndef PERTURB_CLI_CANVAS_H
#define PERTURB_CLI_CANVAS_H

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace perturb::cli {

struct rgb {
  uint8_t red = 0, green = 0, blue = 0;
};

rgb mix(rgb from, rgb to, double share);  // share 0: from, 1: to

class canvas {
 public:
  canvas(int width, int height, rgb background);
  int width() const { return width_; }
  int height() const { return height_; }
  rgb at(int x, int y) const;  // within the image

  void rectangle(int x, int y, int width, int height, rgb colour);
  void frame(int x, int y, int width, int height, rgb colour);  // one pixel wide, inside the rectangle
  void segment(double x0, double y0, double x1, double y1, double thickness, rgb colour, double opacity = 1.0);
  void disc(double x, double y, double radius, rgb colour);
  void diamond(double x, double y, double radius, rgb colour);
  void text(int x, int y, std::string_view text, int scale, rgb colour);  // x, y: upper left of the first character

  std::string png() const;  // compute_error if libpng cannot

 private:
  void blend(int x, int y, rgb colour, double opacity);
  // Covers the pixels around (x, y) by a signed distance in pixels, negative inside the shape.
  template <typename Distance>
  void cover(double left, double top, double right, double bottom, rgb colour, double opacity, const Distance& distance);

  int width_, height_;
  std::vector<uint8_t> pixels_;
};

int text_width(std::string_view text, int scale);

}  // namespace perturb::cli

#endif
