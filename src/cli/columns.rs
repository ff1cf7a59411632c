//! Tables for a terminal.

/// Formats rows in columns, each as wide as its longest cell, two spaces apart.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max()
    };
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or_default());
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths);
        let cells = cells.map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::columns;

    #[test]
    fn a_column_is_as_wide_as_its_longest_cell() {
        let rows = [["NAME", "AGE"], ["a→b→c", "1"]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), "NAME   AGE\na→b→c  1\n");
    }
}
