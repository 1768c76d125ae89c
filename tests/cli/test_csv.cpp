// The .csv reader: headers, quotes, line ends, and every way a file can be wrong.
#include "csv.h"
#include "support.h"

namespace {

using perturb::cli::csv_field;
using perturb::cli::csv_number;
using perturb::cli::csv_table;
using perturb::cli::read_csv;

TEST(csv, real_file) {
  const std::string text = data_text("wine_label_ranking.csv");
  const csv_table table = read_csv(text, "wine.csv", std::nullopt);
  EXPECT_TRUE(table.has_header);
  EXPECT_EQ(table.rows(), 178);
  EXPECT_EQ(table.width(), 16);
  EXPECT_EQ(table.columns.front(), "A1");
  EXPECT_EQ(table.columns.back(), "L3");
  EXPECT_EQ(csv_number(table, 0, 0), 0.68421f);
  EXPECT_EQ(table.line_of_row[0], 2);
}

TEST(csv, header_or_not) {
  const csv_table bare = read_csv("1,2\n3,4\n", "s.csv", std::nullopt);
  EXPECT_FALSE(bare.has_header);
  EXPECT_EQ(bare.columns, (std::vector<std::string>{"0", "1"}));
  EXPECT_EQ(bare.rows(), 2);
  const csv_table named = read_csv("a,2\n3,4\n", "s.csv", std::nullopt);
  EXPECT_EQ(named.columns, (std::vector<std::string>{"a", "2"}));
  EXPECT_EQ(named.rows(), 1);
  EXPECT_EQ(read_csv("a,2\n3,4\n", "s.csv", false).rows(), 2);
  EXPECT_EQ(read_csv("1,2\n3,4\n", "s.csv", true).columns, (std::vector<std::string>{"1", "2"}));
}

TEST(csv, quotes_blanks_line_ends_and_byte_order_mark) {
  const csv_table table = read_csv("\xEF\xBB\xBF\"a, \"\"b\"\"\" , c\r\n\r\n 1 ,\"2\"\r\n\n+3,-4e-1", "s.csv", std::nullopt);
  EXPECT_EQ(table.columns, (std::vector<std::string>{"a, \"b\"", "c"}));
  EXPECT_EQ(table.rows(), 2);
  EXPECT_EQ(table.line_of_row, (std::vector<int64_t>{3, 5}));
  EXPECT_EQ(csv_number(table, 0, 0), 1.0f);
  EXPECT_EQ(csv_number(table, 0, 1), 2.0f);
  EXPECT_EQ(csv_number(table, 1, 0), 3.0f);
  EXPECT_EQ(csv_number(table, 1, 1), -0.4f);
}

TEST(csv, malformed) {
  const auto message = [](const std::string& text) { return message_of([&] { read_csv(text, "s.csv", std::nullopt); }); };
  EXPECT_EQ(message(""), "s.csv:1: the file has no rows");
  EXPECT_EQ(message("\n \n"), "s.csv:1: the file has no rows");
  EXPECT_EQ(message("\na,b\n"), "s.csv:2: the file has a header but no rows");
  EXPECT_EQ(message("a,b\n1,2\n\n1,2,3\n"), "s.csv:4: 3 fields, but line 1 has 2");
  EXPECT_EQ(message("1,2\n1\n"), "s.csv:2: 1 fields, but line 1 has 2");
  EXPECT_EQ(message("1,2\n1,\"2\n"), "s.csv:2: field 2 opens a quote that is not closed on this line");
  EXPECT_EQ(message("1,2\n1,\"2\"\"\n"), "s.csv:2: field 2 opens a quote that is not closed on this line");
  EXPECT_EQ(message("1,2\n\"1\"x,2\n"), "s.csv:2: field 1 has 'x' after its closing quote");
}

TEST(csv, numbers) {
  const std::string text = "a,b\n1,\nx,1e50\nnan,-inf\n1 2,0x10\n+-1,1e999\n";
  const csv_table table = read_csv(text, "s.csv", std::nullopt);
  const auto message = [&](int64_t row, int64_t column) { return message_of([&] { csv_number(table, row, column); }); };
  EXPECT_EQ(message(0, 0), "no error");
  EXPECT_EQ(message(0, 1), "s.csv:2: field 2 ('b') is empty, expected a number");
  EXPECT_EQ(message(1, 0), "s.csv:3: field 1 ('a') is 'x', not a number");
  EXPECT_EQ(message(1, 1), "s.csv:3: field 2 ('b') is '1e50', too large for float32");
  EXPECT_EQ(message(2, 0), "s.csv:4: field 1 ('a') is 'nan', not a finite number");
  EXPECT_EQ(message(2, 1), "s.csv:4: field 2 ('b') is '-inf', not a finite number");
  EXPECT_EQ(message(3, 0), "s.csv:5: field 1 ('a') is '1 2', not a number");
  EXPECT_EQ(message(3, 1), "s.csv:5: field 2 ('b') is '0x10', not a number");
  EXPECT_EQ(message(4, 0), "s.csv:6: field 1 ('a') is '+-1', not a number");
  EXPECT_EQ(message(4, 1), "s.csv:6: field 2 ('b') is '1e999', not a finite number");
  const csv_table bare = read_csv("1,2\n3,x\n", "s.csv", false);
  EXPECT_EQ(message_of([&] { csv_number(bare, 1, 1); }), "s.csv:2: field 2 is 'x', not a number");
}

TEST(csv, written_fields) {
  EXPECT_EQ(csv_field("plain"), "plain");
  EXPECT_EQ(csv_field("a,\"b\""), "\"a,\"\"b\"\"\"");
}

}  // namespace
