//! Scripts without times: everything in them happens within one second.

use crate::contestant::MAX_JOB_SIZE;
use crate::framing::LINE_MAX;
use crate::script::{Piece, Script, Step};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

const LINKS_MAX: usize = 5;
/// Names may have 200 bytes.
const NAME_MAX: usize = 200;

/// What a script is made with.
pub struct Generator {
    pub rng: SmallRng,
    tubes: Vec<Vec<u8>>,
    /// How many ids may be asked for: about as many as were put.
    puts: usize,
    /// Delays already used: each is used once, as jobs due in the same millisecond have no fixed order.
    delay_next: u64,
    /// The rest of something of which a part was sent, for each connection.
    rests: Vec<Vec<Piece>>,
}

/// The script of a seed.
pub fn script(seed: u64) -> Script {
    let mut generator = Generator::new(seed, "s");
    let links = generator.rng.random_range(1..=LINKS_MAX);
    generator.rests = vec![Vec::new(); links];
    let mut steps = Vec::new();
    // Some scripts are those of several workers who wait for different tubes.
    let is_split = generator.rng.random_bool(0.3);
    if is_split {
        for link in 0..links {
            let tube = generator.tubes[link % generator.tubes.len()].clone();
            steps.push(send(link, command(b"watch ", &tube)));
            steps.push(send(link, command(b"ignore ", b"default")));
        }
    }
    let count = generator.rng.random_range(5..45);
    for _ in 0..count {
        generator.step(links, &mut steps);
    }
    Script { name: format!("seed {seed}"), links, tubes: generator.tubes, steps }
}

/// A script in which nothing more is put after the beginning.
pub fn draining(seed: u64) -> Script {
    let mut script = script(seed);
    let middle = script.steps.len() / 2;
    script.steps.insert(middle, Step::Drain);
    script
}

/// Sends all this at once.
pub fn send(link: usize, pieces: Vec<Piece>) -> Step {
    Step::Send { link, fragments: vec![pieces] }
}

/// `verb argument` with its CRLF.
pub fn command(verb: &[u8], argument: &[u8]) -> Vec<Piece> {
    vec![Piece::Bytes([verb, argument, b"\r\n"].concat())]
}

fn line(text: impl AsRef<[u8]>) -> Vec<Piece> {
    command(text.as_ref(), b"")
}

impl Generator {
    /// `mark` keeps the tubes of different kinds of scripts apart.
    pub fn new(seed: u64, mark: &str) -> Generator {
        let rng = SmallRng::seed_from_u64(seed);
        let tubes =
            ["a", "b-+/;.$_()", "c", "longer"].map(|name| format!("{mark}{seed}{name}").into_bytes()).into();
        let delay_next = 100 + seed % 1000;
        Generator { rng, tubes, puts: 0, delay_next, rests: Vec::new() }
    }

    pub fn tubes(&self) -> &[Vec<u8>] {
        &self.tubes
    }

    /// One of these.
    pub fn pick<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts.choose(&mut self.rng).copied().unwrap_or_default()
    }

    fn step(&mut self, links: usize, steps: &mut Vec<Step>) {
        let link = self.rng.random_range(0..links);
        match self.rng.random_range(0..100) {
            0 => steps.push(Step::HalfClose { link }),
            1..=2 => steps.push(Step::Close { link }),
            3 => self.twins(links, steps),
            _ => {
                let fragments = self.fragments(link);
                steps.push(Step::Send { link, fragments });
            }
        }
        // A connection that was closed comes back, one that is open stays.
        if self.rng.random_bool(0.2) {
            steps.push(Step::Open { link });
            self.rests[link].clear();
        }
    }

    /// Several workers who are all the same wait for the same tubes.
    fn twins(&mut self, links: usize, steps: &mut Vec<Step>) {
        let count = self.rng.random_range(2..=4);
        let tube = self.tube();
        let reserve = self.pick(&["reserve", "reserve-with-timeout 1000"]);
        let ignores = self.rng.random_bool(0.5);
        for link in links..links + count {
            steps.push(Step::Close { link });
            steps.push(Step::Open { link });
        }
        for link in links..links + count {
            steps.push(send(link, command(b"watch ", &tube)));
            if ignores {
                steps.push(send(link, command(b"ignore ", b"default")));
            }
            steps.push(send(link, line(reserve)));
        }
        steps.push(send(0, command(b"use ", &tube)));
        for _ in 0..self.rng.random_range(1..=count) {
            let put = self.good_put();
            steps.push(send(0, put));
        }
        let one = links + self.rng.random_range(0..count);
        steps.push(match self.rng.random_range(0..3) {
            0 => Step::Close { link: one },
            1 => Step::HalfClose { link: one },
            _ => send(one, line("reserve-with-timeout 0")),
        });
        steps.push(send(0, line("stats")));
        if self.rng.random_bool(0.5) {
            steps.extend((links..links + count).map(|link| Step::Close { link }));
        }
    }

    /// One or more commands, perhaps in fragments, perhaps without their end.
    fn fragments(&mut self, link: usize) -> Vec<Vec<Piece>> {
        let mut pieces = std::mem::take(&mut self.rests[link]);
        let count = if self.rng.random_bool(0.7) { 1 } else { self.rng.random_range(2..6) };
        for _ in 0..count {
            pieces.extend(self.command());
        }
        let mut fragments = vec![Vec::new()];
        let cuts = self.rng.random_bool(0.1);
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) if cuts && bytes.len() > 1 && self.rng.random_bool(0.7) => {
                    let at = self.rng.random_range(1..bytes.len());
                    let (before, after) = bytes.split_at(at);
                    push(&mut fragments, Piece::Bytes(before.to_vec()));
                    fragments.push(vec![Piece::Bytes(after.to_vec())]);
                }
                piece => push(&mut fragments, piece),
            }
        }
        if fragments.len() > 1 && self.rng.random_bool(0.3) {
            self.rests[link] = fragments.pop().unwrap_or_default();
        }
        fragments
    }

    fn command(&mut self) -> Vec<Piece> {
        match self.rng.random_range(0..100) {
            0..=24 => self.good_put(),
            25..=27 => self.bad_put(),
            28..=35 => {
                line(self.pick(&["reserve", "reserve-with-timeout 1000", "reserve-with-timeout 2147483647"]))
            }
            36..=43 => line("reserve-with-timeout 0"),
            44..=53 => self.with_id(),
            54..=59 => self.tube_command(),
            60..=63 => line(self.pick(&["peek-ready", "peek-delayed", "peek-buried"])),
            64..=67 => self.kick(),
            68..=72 => self.pause(),
            73..=76 => line(self.pick(&["list-tubes", "list-tubes-watched", "list-tube-used"])),
            77..=80 => self.statistics(),
            81..=90 => self.own_job(),
            91..=98 => self.malformed(),
            _ => line(self.pick(&["quit", "quitx", "quit 1"])),
        }
    }

    /// A delay that no other job of the script has.
    fn delay(&mut self) -> u64 {
        self.delay_next += self.rng.random_range(1..50);
        self.delay_next
    }

    pub fn good_put(&mut self) -> Vec<Piece> {
        let pri = self.pick(&["0", "1", "5", "5", "5", "1023", "1024", "1025", "4294967295", "007"]);
        let delay = if self.rng.random_bool(0.25) { self.delay() } else { 0 };
        let ttr = self.pick(&["0", "1", "60", "60", "60", "120", "4294967295"]);
        self.put(&format!("{pri} {delay} {ttr}"))
    }

    /// A put with these three numbers.
    pub fn put(&mut self, numbers: &str) -> Vec<Piece> {
        self.puts += 1;
        let length = match self.rng.random_range(0..20) {
            0 => 0,
            1 => MAX_JOB_SIZE as usize,
            2 => self.rng.random_range(200..600),
            _ => self.rng.random_range(1..30),
        };
        let mut body: Vec<u8> = match self.rng.random_range(0..4) {
            0 => (0..length).map(|_| self.rng.random()).collect(),
            1 => b"\r\nquit\r\nstats\r\n".iter().copied().cycle().take(length).collect(),
            _ => format!("job {} ", self.puts).into_bytes().into_iter().cycle().take(length).collect(),
        };
        body.extend_from_slice(b"\r\n");
        let space = if self.rng.random_bool(0.05) { "  " } else { "" };
        vec![Piece::Bytes([format!("put {space}{numbers} {length}\r\n").as_bytes(), &body].concat())]
    }

    fn bad_put(&mut self) -> Vec<Piece> {
        let too_big = MAX_JOB_SIZE as usize + self.rng.random_range(1..300);
        let big_body =
            |head: String| vec![Piece::Bytes([head.as_bytes(), &vec![b'x'; too_big], b"\r\n"].concat())];
        match self.rng.random_range(0..8) {
            0 => big_body(format!("put 0 0 60 {too_big}\r\n")),
            1 => big_body(format!("put 0 0 60 {too_big} trailing\r\n")),
            2 => line(self.pick(&[
                "put 1 2 3 4 5\r\nabcd",
                "put 1 2 3 4 \r\nabcd",
                "put 1 2 3\r\nabcd",
                "put -1 0 60 2\r\nab",
                "put 0 -1 60 2\r\nab",
                "put 0 0 +60 2\r\nab",
                "put 4294967296 0 60 2\r\nab",
                "put 0 4294967296 60 2\r\nab",
                "put 0 0 4294967296 2\r\nab",
                "put 0 0 60 4294967296\r\nab",
                "put 0 0 60 99999999999999999999\r\nab",
                "put 0 0 60 x\r\nab",
                "put 0x1 0 60 2\r\nab",
                "put 1.5 0 60 2\r\nab",
                "put a\r\nab",
                "put ",
                "put\t1 0 60 2",
            ])),
            // The body is longer than announced, so its end is taken for a command.
            3 => line("put 0 0 60 3\r\nabcdefgh"),
            4 => line("put 0 0 60 3\r\nabcdstats"),
            // Shorter, so that what follows belongs to it.
            5 => line("put 0 0 60 9\r\nabc\r\n"),
            6 => line("put 0 0 60 1\r\n\r"),
            _ => line("put 0 0 60 0\r\nx"),
        }
    }

    /// The tube of a script, or now and then the one that always is.
    pub fn tube(&mut self) -> Vec<u8> {
        if self.rng.random_bool(0.15) {
            return b"default".to_vec();
        }
        self.tubes.choose(&mut self.rng).cloned().unwrap_or_default()
    }

    /// A name, most often a good one.
    fn name(&mut self) -> Vec<u8> {
        match self.rng.random_range(0..24) {
            0 => vec![b'x'; NAME_MAX],
            1 => vec![b'x'; NAME_MAX + 1],
            2 => b"-begins-with-a-dash".to_vec(),
            3 => self
                .pick(&[
                    "",
                    " ",
                    " two-spaces",
                    "a b",
                    "trailing ",
                    "a,b",
                    "a:b",
                    "a\tb",
                    "{a}",
                    "a\nb",
                    "\\",
                ])
                .into(),
            4 => b"caf\xc3\xa9".to_vec(),
            _ => self.tube(),
        }
    }

    fn tube_command(&mut self) -> Vec<Piece> {
        let verb =
            self.pick(&["use ", "use ", "use ", "watch ", "watch ", "ignore ", "ignore ", "stats-tube "]);
        let name = self.name();
        command(verb.as_bytes(), &name)
    }

    fn id(&mut self) -> Vec<Piece> {
        match self.rng.random_range(0..30) {
            0 => vec![Piece::Bytes(
                self.pick(&[
                    "0",
                    "-1",
                    "+1",
                    "",
                    " ",
                    "x",
                    "1x",
                    "0x1",
                    "1.0",
                    "18446744073709551615",
                    "18446744073709551616",
                    "99999999999999999999999",
                    "9007199254740991",
                    "9007199254740992",
                    "9007199254740993",
                ])
                .into(),
            )],
            1 => {
                vec![Piece::Id(self.recent()), Piece::Bytes(self.pick(&[" ", "x", " 1", "-1", "\t"]).into())]
            }
            2 => vec![Piece::Bytes(b"  ".to_vec()), Piece::Id(self.recent())],
            3 => vec![Piece::Bytes(b"000".to_vec()), Piece::Id(self.recent())],
            _ => vec![Piece::Id(self.recent())],
        }
    }

    /// A job put some time before, most likely a late one.
    fn recent(&mut self) -> usize {
        let back = self.rng.random_range(0..self.puts.clamp(1, 8));
        self.puts.saturating_sub(1 + back)
    }

    fn with_id(&mut self) -> Vec<Piece> {
        let verb = self.pick(&[
            "delete ",
            "delete ",
            "kick-job ",
            "kick-job ",
            "peek ",
            "peek ",
            "stats-job ",
            "stats-job ",
            "reserve-job ",
            "reserve-job ",
            "touch ",
        ]);
        let mut pieces = vec![Piece::Bytes(verb.into())];
        pieces.extend(self.id());
        pieces.push(Piece::Bytes(b"\r\n".to_vec()));
        pieces
    }

    /// What a worker does with its job: perhaps it is this connection's.
    fn own_job(&mut self) -> Vec<Piece> {
        let mut pieces = vec![Piece::Bytes(
            self.pick(&["release ", "bury ", "release ", "bury ", "touch ", "delete "]).into(),
        )];
        let verb = pieces[0].clone();
        pieces.extend(self.id());
        let pri =
            self.pick(&["0", "5", "5", "1024", "4294967295", "4294967295", "4294967296", "-1", "", "x"]);
        if verb == Piece::Bytes(b"release ".to_vec()) {
            let delay = if self.rng.random_bool(0.3) { self.delay() } else { 0 };
            let delay = if self.rng.random_bool(0.05) { "4294967296 ".into() } else { delay.to_string() };
            pieces.push(Piece::Bytes(format!(" {pri} {delay}").into_bytes()));
        } else if verb == Piece::Bytes(b"bury ".to_vec()) {
            pieces.push(Piece::Bytes(format!(" {pri}").into_bytes()));
        }
        pieces.push(Piece::Bytes(b"\r\n".to_vec()));
        pieces
    }

    fn kick(&mut self) -> Vec<Piece> {
        let count = self.pick(&[
            "1",
            "1",
            "2",
            "3",
            "10",
            "0",
            "-1",
            "+2",
            "1foo",
            "  2",
            "4294967295",
            "4294967296",
            "4294967297",
            "99999999999999999999",
            "18446744073709551615",
            "x",
            "",
            " ",
            "\t1",
            "0x2",
        ]);
        command(b"kick ", count.as_bytes())
    }

    fn pause(&mut self) -> Vec<Piece> {
        let seconds = self.pick(&[
            "0",
            "0",
            "0",
            "1000",
            "1000",
            "4294967295",
            "4294967296",
            "-1",
            "",
            "x",
            "5 ",
            "5 6",
        ]);
        let verb = self.pick(&["pause-tube ", "pause-tube ", "pause-tube ", "pause-tube  ", "pause-tube"]);
        let name = self.name();
        command(verb.as_bytes(), &[&name, b" ".as_slice(), seconds.as_bytes()].concat())
    }

    fn statistics(&mut self) -> Vec<Piece> {
        match self.rng.random_range(0..3) {
            0 => line("stats"),
            1 => {
                let tube = self.tube();
                command(b"stats-tube ", &tube)
            }
            _ => vec![
                Piece::Bytes(b"stats-job ".to_vec()),
                Piece::Id(self.recent()),
                Piece::Bytes(b"\r\n".to_vec()),
            ],
        }
    }

    fn malformed(&mut self) -> Vec<Piece> {
        match self.rng.random_range(0..12) {
            0 => {
                let text =
                    self.pick(&["-1", "2147483648", "4294967296", "", "x", " ", "99999999999999999999"]);
                vec![Piece::BadTimeout(text.into())]
            }
            1 => line(self.pick(&[
                "reserve-with-timeout 0x",
                "reserve-with-timeout 0 garbage",
                "reserve-with-timeout  0",
            ])),
            2 => line("a\0b"),
            3 => line("stats\0"),
            4..=5 => self.overlong(),
            6 => {
                let bytes: Vec<u8> = (0..self.rng.random_range(1..60)).map(|_| self.rng.random()).collect();
                let harmless = bytes.into_iter().filter(|byte| *byte != b'\r').collect::<Vec<u8>>();
                line([b"?", harmless.as_slice()].concat())
            }
            _ => line(self.pick(&[
                "",
                " ",
                "put",
                "peek",
                "kick",
                "watch",
                "use",
                "ignore",
                "delete",
                "bury",
                "release",
                "touch",
                "reserve ",
                "reservexyz",
                "reserve-job",
                "reserve-with-timeout",
                "RESERVE",
                "Stats",
                "statsx",
                "stats ",
                "stats-job",
                "stats-tube",
                "stats-jobs",
                "stats-tubes",
                "peek-readyx",
                "peek-ready ",
                "peek-delayed 1",
                "peek-buriedx",
                "peek-",
                "list-tubesx",
                "list-tubes ",
                "list-tube",
                "list-tube-usedx",
                "list-tubes-watched ",
                "kick-job",
                "kickx",
                "kick-jobx",
                "pause-tube",
                "pause-tubex 1",
                "pause",
                "\tstats",
                " stats",
                "hello world",
                "\n",
                "stats\n",
                "GET / HTTP/1.1",
                "*1",
                "$4",
                "PING",
            ])),
        }
    }

    /// A line around the limit. Where a CRLF straddles the end of beanstalkd's buffer, it swallows the next
    /// command; that is not to be copied.
    fn overlong(&mut self) -> Vec<Piece> {
        let mut length = *[LINE_MAX - 3, LINE_MAX - 2, LINE_MAX, LINE_MAX + 1, 300, 2 * LINE_MAX, 1000, 5000]
            .choose(&mut self.rng)
            .unwrap_or(&LINE_MAX);
        length += usize::from(length % LINE_MAX == LINE_MAX - 1);
        let verb = self.pick(&[
            "stats-tube ",
            "use ",
            "xx",
            "peek ",
            "put 1 2 3 ",
            "watch ",
            "reserve-with-timeout 0",
            "list-tubes",
        ]);
        line([verb.as_bytes(), &vec![b'1'; length - verb.len()]].concat())
    }
}

fn push(fragments: &mut [Vec<Piece>], piece: Piece) {
    if let Some(last) = fragments.last_mut() {
        last.push(piece);
    }
}
