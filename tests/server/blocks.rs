//! The blocks in which jobs lie are such as Redis' allocator uses again: of 2^k or 3 * 2^k bytes. Others it joins with what
//! is free around them, and gives back to the system while everybody waits.

use redis::Connection;

use crate::harness::{Server, has_module};
use crate::reply::{array, cmd, int, reserved_many, run, text};

/// How many blocks of other sizes than those are in use, by the allocator's own statistics: of the sizes that are cut out
/// of runs of pages, but for small ones, of which there are hundreds to a run.
fn uneven(con: &mut Connection) -> usize {
    let stats = text(&cmd(con, &["MEMORY", "MALLOC-STATS"]).expect("statistics"));
    let table = stats.lines().skip_while(|line| !line.starts_with("bins:"));
    let mut rows = table.take_while(|line| !line.starts_with("large:")).map(str::split_whitespace);
    let titles: Vec<&str> = rows.next().expect("statistics of jemalloc").skip(1).collect();
    let column = titles.iter().position(|title| *title == "curregs").expect("how many are in use");
    let rows = rows.filter_map(|row| {
        let numbers: Vec<&str> = row.collect();
        Some((numbers.first()?.parse().ok()?, numbers.get(column)?.parse::<usize>().ok()?))
    });
    rows.filter(|(bytes, _)| !is_even(*bytes)).map(|(_, blocks)| blocks).sum()
}

fn is_even(bytes: u64) -> bool {
    bytes <= 80 || bytes.is_power_of_two() || (bytes.is_multiple_of(3) && (bytes / 3).is_power_of_two())
}

/// Whatever the jobs are like, and wherever they stand. The lengths of bodies are such as Redis has even blocks for, too.
#[test]
fn jobs_lie_in_even_blocks() {
    const JOBS: usize = 60_000;
    const AT_ONCE: usize = 100;
    if !has_module() {
        return;
    }
    let server = Server::start(&[]);
    let mut con = server.connect();
    if !server.info("memory")["mem_allocator"].starts_with("jemalloc") {
        return;
    }
    let kinds: [(&[&str], usize, bool); 7] = [
        (&[], 0, false),
        (&[], 11, false),
        (&[], 60, false),
        (&[], 92, false),
        (&["PRI"], 92, false),
        (&["DELAY", "1000"], 92, false),
        (&[], 92, true),
    ];
    for (options, len, is_reserved) in kinds {
        let before = uneven(&mut con);
        let body = "x".repeat(len);
        for number in 0..JOBS / AT_ONCE {
            // Priorities in no order.
            let pri = (number * 7_919 % 10_007).to_string();
            let mut words = vec!["PHEAN.MPUT", "t", "100"];
            words.extend([body.as_str(); AT_ONCE]);
            words.extend(options);
            words.extend((options == ["PRI"]).then_some(pri.as_str()));
            assert_eq!(array(&cmd(&mut con, &words).expect("ids")).len(), AT_ONCE);
            if is_reserved {
                assert_eq!(reserved_many(&run(&mut con, "PHEAN.RESERVE t COUNT 100")).len(), AT_ONCE);
            }
        }
        let more = uneven(&mut con).saturating_sub(before);
        // Some six hundred segments. A few blocks are the server's own, or of those that are on their way.
        assert!(
            more < JOBS / 128 / 2,
            "{more} uneven blocks for {options:?} of {len}, reserved: {is_reserved}"
        );
        assert_eq!(int(&run(&mut con, "DEL t")), 1);
    }
}
