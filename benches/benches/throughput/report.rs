//! Numbers for people.

/// Prints a Markdown table: the first column aligned left, the others right.
pub fn table(title: &str, header: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap()
    };
    let line = |cells: &[String]| {
        let cells = cells.iter().enumerate().map(|(column, cell)| {
            let width = width(column);
            match column {
                0 => format!(" {cell:<width$} "),
                _ => format!(" {cell:>width$} "),
            }
        });
        println!("|{}|", cells.collect::<Vec<_>>().join("|"));
    };
    println!("\n{title}\n");
    line(
        &header
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>(),
    );
    let rules = (0..header.len()).map(|column| {
        let dashes = "-".repeat(width(column) + 1);
        if column == 0 {
            format!(":{dashes}")
        } else {
            format!("{dashes}:")
        }
    });
    println!("|{}|", rules.collect::<Vec<_>>().join("|"));
    for row in rows {
        line(row);
    }
}

/// A number with its thousands apart.
pub fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap())
        .collect();
    groups.join(",")
}

/// The value in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
