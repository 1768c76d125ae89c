// Drawing and PNG encoding.
#include "canvas.h"

#include <png.h>

#include <algorithm>
#include <cmath>

#include "error.h"
#include "font.h"

namespace perturb::cli {

rgb mix(rgb from, rgb to, double share) {
  const auto one = [share](uint8_t a, uint8_t b) { return static_cast<uint8_t>(std::lround(a + (b - a) * std::clamp(share, 0.0, 1.0))); };
  return {one(from.red, to.red), one(from.green, to.green), one(from.blue, to.blue)};
}

canvas::canvas(int width, int height, rgb background)
    : width_(width), height_(height), pixels_(static_cast<size_t>(width) * static_cast<size_t>(height) * 3) {
  rectangle(0, 0, width, height, background);
}

rgb canvas::at(int x, int y) const {
  const uint8_t* p = &pixels_[(static_cast<size_t>(y) * static_cast<size_t>(width_) + static_cast<size_t>(x)) * 3];
  return {p[0], p[1], p[2]};
}

void canvas::blend(int x, int y, rgb colour, double opacity) {
  if (x < 0 || y < 0 || x >= width_ || y >= height_ || opacity <= 0) return;
  const rgb mixed = mix(at(x, y), colour, opacity);
  uint8_t* p = &pixels_[(static_cast<size_t>(y) * static_cast<size_t>(width_) + static_cast<size_t>(x)) * 3];
  p[0] = mixed.red;
  p[1] = mixed.green;
  p[2] = mixed.blue;
}

void canvas::rectangle(int x, int y, int width, int height, rgb colour) {
  for (int row = std::max(y, 0); row < std::min(y + height, height_); ++row)
    for (int column = std::max(x, 0); column < std::min(x + width, width_); ++column) blend(column, row, colour, 1.0);
}

void canvas::frame(int x, int y, int width, int height, rgb colour) {
  rectangle(x, y, width, 1, colour);
  rectangle(x, y + height - 1, width, 1, colour);
  rectangle(x, y, 1, height, colour);
  rectangle(x + width - 1, y, 1, height, colour);
}

template <typename Distance>
void canvas::cover(double left, double top, double right, double bottom, rgb colour, double opacity, const Distance& distance) {
  const int x_end = std::min(width_ - 1, static_cast<int>(std::ceil(right)) + 1);
  const int y_end = std::min(height_ - 1, static_cast<int>(std::ceil(bottom)) + 1);
  for (int y = std::max(0, static_cast<int>(std::floor(top)) - 1); y <= y_end; ++y)
    for (int x = std::max(0, static_cast<int>(std::floor(left)) - 1); x <= x_end; ++x)
      blend(x, y, colour, opacity * std::clamp(0.5 - distance(x + 0.5, y + 0.5), 0.0, 1.0));
}

void canvas::segment(double x0, double y0, double x1, double y1, double thickness, rgb colour, double opacity) {
  const double dx = x1 - x0, dy = y1 - y0, squared = dx * dx + dy * dy, half = thickness / 2;
  cover(std::min(x0, x1) - half, std::min(y0, y1) - half, std::max(x0, x1) + half, std::max(y0, y1) + half, colour, opacity,
        [=](double x, double y) {
          const double along = squared > 0 ? std::clamp(((x - x0) * dx + (y - y0) * dy) / squared, 0.0, 1.0) : 0.0;
          return std::hypot(x - x0 - along * dx, y - y0 - along * dy) - half;
        });
}

void canvas::disc(double x, double y, double radius, rgb colour) { segment(x, y, x, y, 2 * radius, colour); }

void canvas::diamond(double x, double y, double radius, rgb colour) {
  cover(x - radius, y - radius, x + radius, y + radius, colour, 1.0,
        [=](double px, double py) { return (std::abs(px - x) + std::abs(py - y) - radius) / std::sqrt(2.0); });
}

void canvas::text(int x, int y, std::string_view text, int scale, rgb colour) {
  for (const char c : text) {
    const unsigned code = static_cast<unsigned char>(c);
    const glyph& shape = font[code >= 32 && code <= 127 ? code - 32 : '?' - 32];
    const int top = y + (hangs(c) ? glyph_descent * scale : 0);
    for (int row = 0; row < glyph_height; ++row)
      for (int column = 0; column < glyph_width; ++column)
        if ((shape[static_cast<size_t>(row)] & (0x10 >> column)) != 0)
          rectangle(x + column * scale, top + row * scale, scale, scale, colour);
    x += glyph_advance * scale;
  }
}

int text_width(std::string_view text, int scale) {
  return text.empty() ? 0 : (static_cast<int>(text.size()) * glyph_advance - (glyph_advance - glyph_width)) * scale;
}

std::string canvas::png() const {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(width_);
  image.height = static_cast<png_uint_32>(height_);
  image.format = PNG_FORMAT_RGB;
  png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::string out(bytes, '\0');
  if (png_image_write_to_memory(&image, out.data(), &bytes, 0, pixels_.data(), 0, nullptr) == 0)
    throw compute_error(std::string("the picture cannot be encoded: ") + image.message);
  out.resize(bytes);
  return out;
}

}  // namespace perturb::cli
