// Layout and colours of the path picture.
#include "path_picture.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "font.h"
#include "text.h"

namespace perturb::cli {

namespace {

constexpr rgb background{12, 13, 20};
constexpr rgb floor_low{22, 22, 35};      // the cheapest passable cell
constexpr rgb floor_high{112, 118, 134};  // the dearest one, where costs differ
constexpr rgb wall{58, 68, 88};
constexpr rgb border{84, 92, 112};
constexpr rgb ink{232, 234, 240};
constexpr rgb faint_ink{150, 156, 172};
constexpr rgb hard_colour{96, 226, 255};
constexpr rgb source_colour{88, 232, 140};
constexpr rgb target_colour{255, 255, 255};

constexpr int margin = 24;
constexpr int gap = 20;             // between panels
constexpr int title_height = 46;    // of the whole picture
constexpr int caption_height = 56;  // above each panel
constexpr int line_scale = 6;       // from this cell size on the hard path is a line, below it dots

// The heat is share^0.4: of 1000 samples, the cell that one of them visits is already told from one that none does.
constexpr double heat_exponent = 0.4;

// How cells become pixels: each cell is `scale` pixels wide, or `shrink` cells share a pixel.
struct zoom {
  int scale = 1, shrink = 1;
  int pixels(int64_t side) const { return static_cast<int>((side + shrink - 1) / shrink) * scale; }
  double centre(int64_t index) const { return (static_cast<double>(index) + 0.5) * scale / shrink; }
};

zoom choose_zoom(const path_picture& picture) {
  constexpr int64_t largest_size = 1024;
  const grid& map = *picture.map;
  const int64_t target_size = picture.panels.size() > 1 ? 580 : 768;
  const int64_t side = std::max(map.height, map.width);
  zoom z;
  z.scale = static_cast<int>(std::clamp<int64_t>(target_size / side, 1, 40));
  z.shrink = static_cast<int>((side + largest_size - 1) / largest_size);
  return z;
}

rgb floor_colour(float cost, float low, float high) {
  if (!(high > low)) return floor_low;
  return mix(floor_low, floor_high, (static_cast<double>(cost) - low) / (static_cast<double>(high) - low));
}

struct cost_range {
  float low = 0, high = 0;
};

cost_range range_of(const grid& map) {
  cost_range range{INFINITY, -INFINITY};
  for (size_t i = 0; i < map.cost.size(); ++i) {
    if (map.passable[i] == 0) continue;
    range.low = std::min(range.low, map.cost[i]);
    range.high = std::max(range.high, map.cost[i]);
  }
  return range;
}

void draw_cells(canvas& out, int left, int top, const grid& map, zoom z, cost_range range, std::span<const float> expected) {
  for (int64_t r = 0; r < map.height; r += z.shrink) {
    for (int64_t c = 0; c < map.width; c += z.shrink) {
      // Of the cells that share a pixel the most visited one shows, else a passable one, else a wall.
      size_t shown = static_cast<size_t>(r * map.width + c);
      for (int64_t y = r; y < std::min(r + z.shrink, map.height); ++y)
        for (int64_t x = c; x < std::min(c + z.shrink, map.width); ++x) {
          const size_t i = static_cast<size_t>(y * map.width + x);
          if (expected[i] > expected[shown] || (map.passable[shown] == 0 && map.passable[i] != 0)) shown = i;
        }
      rgb colour = wall;
      if (map.passable[shown] != 0) {
        const double heat = std::pow(std::clamp(static_cast<double>(expected[shown]), 0.0, 1.0), heat_exponent);
        colour = mix(floor_colour(map.cost[shown], range.low, range.high), heat_colour(expected[shown]), std::min(1.0, heat * 4));
      }
      out.rectangle(left + z.pixels(c), top + z.pixels(r), z.scale, z.scale, colour);
    }
  }
}

// A line where cells are large; where they are a few pixels, dots that leave the heat between them visible.
void draw_hard_path(canvas& out, int left, int top, const grid& map, zoom z, std::span<const int64_t> path) {
  const auto x = [&](int64_t cell) { return left + z.centre(cell % map.width); };
  const auto y = [&](int64_t cell) { return top + z.centre(cell / map.width); };
  if (z.scale >= line_scale) {
    const double thickness = std::max(1.4, z.scale * 0.1);
    for (size_t i = 0; i + 1 < path.size(); ++i)
      out.segment(x(path[i]), y(path[i]), x(path[i + 1]), y(path[i + 1]), thickness, hard_colour);
    return;
  }
  constexpr double dot_distance = 7.0;
  double since = dot_distance / 2;
  for (size_t i = 0; i + 1 < path.size(); ++i) {
    since += std::hypot(x(path[i + 1]) - x(path[i]), y(path[i + 1]) - y(path[i]));
    if (since < dot_distance) continue;
    since = 0;
    out.disc(x(path[i + 1]), y(path[i + 1]), 1.25, hard_colour);
  }
}

void draw_source(canvas& out, double x, double y, double radius) {
  out.disc(x, y, radius + 1.8, background);
  out.disc(x, y, radius, source_colour);
}

void draw_target(canvas& out, double x, double y, double radius) {
  out.diamond(x, y, radius * 1.35 + 2.4, background);
  out.diamond(x, y, radius * 1.35, target_colour);
}

std::string cell_name(int64_t cell, const grid& map) { return std::to_string(cell / map.width) + "," + std::to_string(cell % map.width); }

struct extent {
  int width = 0, height = 0;
};

// The colour bar and the keys, which go on below it where `width` ends. Draws where `out` is given.
extent legend(canvas* out, int left, int top, int width, const path_picture& picture) {
  constexpr int bar_width = 340, bar_height = 16, bar_block = bar_height + 50, key_height = 30;
  constexpr std::array<double, 6> ticks = {0.0, 0.01, 0.1, 0.3, 0.6, 1.0};
  const std::string caption = "share of samples through a cell";
  if (out != nullptr) {
    for (int i = 0; i < bar_width; ++i) {
      const double heat = (i + 0.5) / bar_width;
      const rgb colour = mix(floor_low, heat_colour(std::pow(heat, 1 / heat_exponent)), std::min(1.0, heat * 4));
      out->rectangle(left + i, top, 1, bar_height, colour);
    }
    out->frame(left - 1, top - 1, bar_width + 2, bar_height + 2, border);
    for (const double tick : ticks) {
      const int x = left + static_cast<int>(std::lround(std::pow(tick, heat_exponent) * bar_width));
      const std::string label = format_short(tick, 3);
      out->rectangle(std::min(x, left + bar_width - 1), top + bar_height + 1, 1, 4, faint_ink);
      out->text(std::clamp(x - text_width(label, 2) / 2, left, left + bar_width - text_width(label, 2)), top + bar_height + 8, label, 2,
                ink);
    }
    out->text(left, top + bar_height + 30, caption, 2, faint_ink);
  }
  extent used{std::max(bar_width, text_width(caption, 2)), bar_block};
  const int beside_bar = left + used.width + 40;
  int x = beside_bar, y = top + bar_height / 2;
  const auto key = [&](const std::string& label, const auto& symbol) {
    constexpr int symbol_width = 34, gap_after = 28;
    const int key_width = symbol_width + text_width(label, 2);
    if (x > left && x + key_width > left + width) {
      // A second line of keys goes beside the bar's labels if it fits there, else the keys go on below.
      const bool beside = y + key_height < top + bar_block && beside_bar + key_width <= left + width;
      x = beside ? beside_bar : left;
      y = beside ? y + key_height : std::max(y + key_height, top + bar_block + key_height / 2);
    }
    if (out != nullptr) {
      symbol(x, y);
      out->text(x + symbol_width, y - glyph_height, label, 2, ink);
    }
    used.width = std::max(used.width, x + key_width - left);
    used.height = std::max(used.height, y + key_height / 2 - top);
    x += key_width + gap_after;
  };
  const auto ends = [&](const std::vector<int64_t>& cells) {
    return cells.size() == 1 ? cell_name(cells[0], *picture.map) : "any of " + std::to_string(cells.size()) + " cells";
  };
  key("from " + ends(picture.sources), [&](int kx, int ky) { draw_source(*out, kx + 18.0, ky, 6); });
  key("to " + ends(picture.targets), [&](int kx, int ky) { draw_target(*out, kx + 18.0, ky, 6); });
  const bool dotted = choose_zoom(picture).scale < line_scale;
  key("hard path", [&](int kx, int ky) {
    if (!dotted) out->segment(kx + 3.0, ky, kx + 25.0, ky, 2.2, hard_colour);
    for (int i = 0; dotted && i < 4; ++i) out->disc(kx + 4.0 + 7.0 * i, ky, 1.4, hard_colour);
  });
  if (std::find(picture.map->passable.begin(), picture.map->passable.end(), 0) != picture.map->passable.end())
    key("wall", [&](int kx, int ky) {
      out->rectangle(kx + 9, ky - 8, 17, 17, wall);
      out->frame(kx + 9, ky - 8, 17, 17, border);
    });
  const cost_range range = range_of(*picture.map);
  if (range.high > range.low)
    key("cost " + format_short(range.low, 3) + " to " + format_short(range.high, 3), [&](int kx, int ky) {
      for (int i = 0; i < 24; ++i) out->rectangle(kx + 3 + i, ky - 8, 1, 17, mix(floor_low, floor_high, i / 23.0));
      out->frame(kx + 2, ky - 9, 26, 19, border);
    });
  return used;
}

// The text cut to what fits.
std::string fitted(const std::string& text, int scale, int width) {
  if (text_width(text, scale) <= width) return text;
  const size_t kept = static_cast<size_t>(std::max(0, width / (glyph_advance * scale) - 2));
  return text.substr(0, kept) + "..";
}

}  // namespace

rgb heat_colour(double share) {
  constexpr std::array<rgb, 6> stops = {{{24, 20, 44}, {84, 30, 130}, {176, 42, 118}, {238, 92, 72}, {253, 180, 62}, {255, 248, 206}}};
  const double place = std::pow(std::clamp(share, 0.0, 1.0), heat_exponent) * (stops.size() - 1);
  const size_t below = std::min(static_cast<size_t>(place), stops.size() - 2);
  return mix(stops[below], stops[below + 1], place - static_cast<double>(below));
}

canvas draw(const path_picture& picture) {
  const grid& map = *picture.map;
  const zoom z = choose_zoom(picture);
  const cost_range range = range_of(map);
  const int panel_width = z.pixels(map.width), panel_height = z.pixels(map.height);
  const int count = static_cast<int>(picture.panels.size());
  // A panel narrower than its captions still gets the room for them.
  int cell_width = panel_width;
  for (const path_panel& panel : picture.panels)
    cell_width = std::max({cell_width, text_width(panel.title, 2), text_width(panel.subtitle, 2)});
  const int panels_width = count * cell_width + (count - 1) * gap;
  const int inner_width = std::max(panels_width, legend(nullptr, 0, 0, panels_width, picture).width);
  const int top = margin + title_height + caption_height;
  const int legend_top = top + panel_height + gap + 4;
  canvas out(inner_width + 2 * margin, legend_top + legend(nullptr, 0, 0, inner_width, picture).height + margin / 2, background);

  const int title_scale = text_width(picture.title, 3) <= inner_width ? 3 : 2;
  out.text(margin, margin, fitted(picture.title, title_scale, inner_width), title_scale, ink);
  int left = margin + (inner_width - panels_width) / 2;
  for (const path_panel& panel : picture.panels) {
    const auto centred = [&](const std::string& text, int y, rgb colour) {
      out.text(left + (cell_width - text_width(text, 2)) / 2, margin + title_height + y, text, 2, colour);
    };
    centred(panel.title, 0, heat_colour(0.6));
    centred(panel.subtitle, 24, faint_ink);
    const int x = left + (cell_width - panel_width) / 2;
    draw_cells(out, x, top, map, z, range, panel.expected);
    out.frame(x - 1, top - 1, panel_width + 2, panel_height + 2, border);
    draw_hard_path(out, x, top, map, z, picture.hard_path);
    const double radius = std::clamp(z.scale * 0.32, 4.5, 9.0);
    for (const int64_t cell : picture.sources) draw_source(out, x + z.centre(cell % map.width), top + z.centre(cell / map.width), radius);
    for (const int64_t cell : picture.targets) draw_target(out, x + z.centre(cell % map.width), top + z.centre(cell / map.width), radius);
    left += cell_width + gap;
  }
  legend(&out, margin, legend_top, inner_width, picture);
  return out;
}

}  // namespace perturb::cli
