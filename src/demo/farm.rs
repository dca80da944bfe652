//! The simulated farms: who mines what with which machines, and what each machine does at a moment.
//!
//! Everything is a function of the seed and the time, so that nothing is remembered, any moment can be asked for, and
//! what was told once is told again.

use jiff::Timestamp;

use crate::model::Currency;

/// How often the pool makes its figures anew, in seconds.
pub const REFRESH: i64 = 300;

/// How many days before its beginning the simulated pool remembers, unless told otherwise.
pub const DAYS: i32 = 400;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Everybody who mines.
#[derive(Debug)]
pub struct Farm {
    /// The accounts, by no particular order.
    pub accounts: Vec<Account>,
    /// When the simulation began, in Unix seconds; incidents are timed from here.
    pub began: i64,
    /// How many days before that are on the pool's books.
    pub days: i32,
    /// What happens besides what is special about single machines.
    pub incidents: Vec<Incident>,
    /// How long a machine stops at the least and at the most, in seconds, on the one day in twelve on which it does.
    pub stops: (i64, i64),
    seed: u64,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub struct Incident {
    /// What happens.
    pub trouble: Trouble,
    /// To whom: an account's name; empty: to everybody.
    pub account: String,
    /// To which of the account's machines: how their names begin.
    pub machines: String,
    /// When it begins, in Unix seconds.
    pub from: i64,
    /// When it is over.
    pub to: i64,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trouble {
    /// Machines stop.
    Stopped,
    /// Machines deliver this share of what they should.
    Throttled(f64),
    /// Machines are missing from the pool's list, and from the account's figures.
    Unlisted,
    /// The account's key is not taken.
    KeyRefused,
    /// Payouts that fall due are made when it is over.
    Unpaid,
    /// The API answers with an HTML page and status 502.
    ApiOut,
    /// The pool's own hashrate is this share of what it should be.
    PoolWeak(f64),
    /// Machines have no legible share of rejected shares.
    Garbled,
}

impl Incident {
    fn is_on(&self, now: i64) -> bool {
        (self.from..self.to).contains(&now)
    }

    fn concerns(&self, account: &str) -> bool {
        self.account.is_empty() || self.account == account
    }
}

/// One account of the pool.
#[derive(Debug)]
pub struct Account {
    /// Its name in the exporter's configuration.
    pub name: String,
    /// Its key; made up.
    pub key: String,
    /// Whether the pool takes the key.
    pub key_valid: bool,
    /// Where it stands, for a label.
    pub site: &'static str,
    /// Whose it is, for a label.
    pub client: &'static str,
    /// What it mines.
    pub holdings: Vec<Holding>,
}

/// What an account mines of one currency.
#[derive(Debug)]
pub struct Holding {
    /// The currency.
    pub currency: Currency,
    /// The machines.
    pub machines: Vec<Machine>,
    /// Tells its noise from others'.
    pub salt: u64,
}

/// One machine: a worker.
#[derive(Debug)]
pub struct Machine {
    /// The pool's id.
    pub id: u64,
    /// The name that the miner gave it.
    pub name: String,
    /// The account it mines for.
    pub account: String,
    /// What it does when it works, in hashes per second.
    pub nominal: f64,
    /// The usual share of rejected shares.
    pub rejects: f64,
    /// What is special about it.
    pub quirk: Quirk,
}

/// What is special about a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quirk {
    /// Nothing: it works, and stops at times.
    None,
    /// Stands in the rack that dies for twenty minutes every two hours, first ten minutes after the beginning.
    DyingRack,
    /// Is taken from the list an hour after the beginning, and back after three more.
    Removed,
    /// Has not been heard of for weeks.
    Retired,
    /// Delivers two thirds of what it should.
    Throttled,
}

impl Machine {
    fn of(id: u64, name: String, nominal: f64) -> Self {
        Self { id, name, account: String::new(), nominal, rejects: 0.0008, quirk: Quirk::None }
    }
}

impl Holding {
    /// What all machines do together when they work, in hashes per second.
    pub fn nominal_hashrate(&self) -> f64 {
        self.machines.iter().filter(|machine| machine.quirk != Quirk::Retired).map(|machine| machine.nominal).sum()
    }
}

/// What the pool tells of a machine at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Over ten minutes, in hashes per second.
    pub ten_minutes: f64,
    /// Over an hour.
    pub hour: f64,
    /// Over a day.
    pub day: f64,
    /// Share of rejected shares.
    pub rejects: f64,
    /// When it was last heard of, in Unix seconds.
    pub last_active: i64,
}

impl Farm {
    /// The farms of a seed, with incidents that begin to count now.
    pub fn new(seed: u64, now: Timestamp) -> Self {
        let mut ids = 24_000_000..;
        let mut machines = |names: Vec<String>, nominal: f64| -> Vec<Machine> {
            names.into_iter().zip(&mut ids).map(|(name, id)| Machine::of(id, name, nominal)).collect()
        };
        // Rack positions, as halls name them; rack 7 will die.
        let hall = (1..=20).flat_map(|rack| (1..=10).map(move |place| format!("h1-r{rack:02}-p{place:02}"))).collect();
        let mut hall = machines(hall, 141e12);
        for machine in hall.iter_mut().filter(|machine| machine.name.starts_with("h1-r07-")) {
            machine.quirk = Quirk::DyingRack;
        }
        hall[33].quirk = Quirk::Removed;
        hall[150].quirk = Quirk::Throttled;
        hall[151].rejects = 0.031;
        // Models with serial numbers; two machines of one name, and one that was unplugged long ago.
        let mut models: Vec<_> = (1..=104).map(|n| format!("S19jPro.{:04}", 300 + n * 7)).collect();
        models[41] = models[40].clone();
        let mut models = machines(models, 104e12);
        models[90].quirk = Quirk::Retired;
        let cash = machines((1..=28).map(|n| format!("M30S-{n:02}")).collect(), 88e12);
        let litecoin =
            machines((1..=68).map(|n| format!("L7_{}{n:02}", if n <= 34 { "A" } else { "B" })).collect(), 9.5e9);
        let garage = ["Гараж-1", "Гараж-2", "asic \"старый\""].map(str::to_owned).to_vec();
        let garage = machines(garage, 110e12);
        let former = machines((1..=12).map(|n| format!("cont2-{n:02}")).collect(), 100e12);

        let holding = |currency, machines: Vec<Machine>| {
            let salt = machines.first().map_or(0, |machine| machine.id);
            Holding { currency, machines, salt }
        };
        let mut accounts = vec![
            Account {
                name: "ekibastuz_hall_1".to_owned(),
                site: "Ekibastuz",
                client: "own",
                holdings: vec![holding(Currency::Btc, hall)],
                key: String::new(),
                key_valid: true,
            },
            Account {
                name: "pavlodar".to_owned(),
                site: "Pavlodar",
                client: "Altyn",
                holdings: vec![holding(Currency::Btc, models), holding(Currency::Bch, cash)],
                key: String::new(),
                key_valid: true,
            },
            Account {
                name: "karaganda_scrypt".to_owned(),
                site: "Karaganda",
                client: "Saryarka",
                holdings: vec![holding(Currency::Ltc, litecoin)],
                key: String::new(),
                key_valid: true,
            },
            Account {
                name: "garage".to_owned(),
                site: "Almaty",
                client: "own",
                holdings: vec![holding(Currency::Btc, garage)],
                key: String::new(),
                key_valid: true,
            },
            Account {
                name: "former_client".to_owned(),
                site: "Temirtau",
                client: "Former",
                holdings: vec![holding(Currency::Btc, former)],
                key: String::new(),
                key_valid: false,
            },
        ];
        for (index, account) in (0..).zip(&mut accounts) {
            let part = |n| format!("{:06x}", hash(seed, [u64::MAX, index, n]) & 0xff_ffff);
            account.key = (0..5).map(part).collect::<Vec<_>>().join("-");
        }
        Self::with(accounts, now, seed)
    }

    fn with(mut accounts: Vec<Account>, now: Timestamp, seed: u64) -> Self {
        for account in &mut accounts {
            for machine in account.holdings.iter_mut().flat_map(|holding| &mut holding.machines) {
                machine.account.clone_from(&account.name);
            }
        }
        let stops = (10 * MINUTE, 3 * HOUR);
        Self { accounts, began: now.as_second(), days: DAYS, incidents: Vec::new(), stops, seed }
    }

    /// Small farms for any number of accounts: each is a name, a key, and how many machines mine BTC for it.
    pub fn of(seed: u64, now: Timestamp, accounts: impl IntoIterator<Item = (String, String, usize)>) -> Self {
        let mut ids = 25_000_000..;
        let accounts = accounts.into_iter().map(|(name, key, count)| {
            let machines: Vec<_> =
                (1..=count).zip(&mut ids).map(|(n, id)| Machine::of(id, format!("{name}.{n:03}"), 110e12)).collect();
            let salt = machines.first().map_or(0, |machine| machine.id);
            let holdings = vec![Holding { currency: Currency::Btc, machines, salt }];
            Account { name, key, key_valid: true, site: "Almaty", client: "own", holdings }
        });
        Self::with(accounts.collect(), now, seed)
    }

    /// The account that a key belongs to.
    pub fn owner(&self, key: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.key == key && account.key_valid)
    }

    /// The same, if the key is taken now.
    pub fn account(&self, key: &str, now: i64) -> Option<&Account> {
        let account = self.owner(key)?;
        let refused = |incident: &Incident| incident.trouble == Trouble::KeyRefused && incident.concerns(&account.name);
        (!self.going_on(now).any(refused)).then_some(account)
    }

    /// Whether the API is out of order.
    pub fn is_out(&self, now: i64) -> bool {
        self.going_on(now).any(|incident| incident.trouble == Trouble::ApiOut)
    }

    /// What the pool's own hashrate is to be multiplied by.
    pub fn pool_share(&self, now: i64) -> f64 {
        let share = |incident: &Incident| if let Trouble::PoolWeak(share) = incident.trouble { share } else { 1.0 };
        self.going_on(now).map(share).product()
    }

    /// Until when a payout to an account that falls due waits, if it does.
    pub fn withholds(&self, account: &str, due: i64) -> Option<i64> {
        let unpaid = |incident: &&Incident| incident.trouble == Trouble::Unpaid && incident.concerns(account);
        self.going_on(due).find(unpaid).map(|incident| incident.to)
    }

    fn going_on(&self, now: i64) -> impl Iterator<Item = &Incident> {
        self.incidents.iter().filter(move |incident| incident.is_on(now))
    }

    /// What happens to a machine, ever.
    fn incidents_of(&self, machine: &Machine) -> impl Iterator<Item = &Incident> {
        let concerns =
            |incident: &&Incident| incident.concerns(&machine.account) && machine.name.starts_with(&incident.machines);
        self.incidents.iter().filter(concerns)
    }

    /// A number from 0 to 1 that belongs to these three numbers.
    pub fn chance(&self, of: [u64; 3]) -> f64 {
        // 53 bits are what a float holds.
        (hash(self.seed, of) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether a machine is in the pool's list.
    pub fn is_listed(&self, machine: &Machine, now: i64) -> bool {
        let unlisted = |incident: &Incident| incident.trouble == Trouble::Unlisted && incident.is_on(now);
        (machine.quirk != Quirk::Removed || (now - self.began).rem_euclid(4 * HOUR) < HOUR)
            && !self.incidents_of(machine).any(unlisted)
    }

    /// What the pool tells of a machine.
    pub fn read(&self, machine: &Machine, now: i64) -> Reading {
        // The pool makes its figures anew at whole five minutes.
        let now = now - now.rem_euclid(REFRESH);
        let noise = |window: u64, width: f64| 1.0 + width * (2.0 * self.chance([machine.id, now as u64, window]) - 1.0);
        let hashrate = |window: i64, salt: u64, width: f64| {
            let share = self.uptime(machine, now - window, now);
            let share = share * self.throttled(machine, now - window, now);
            (machine.nominal * rhythm(now - window / 2) * noise(salt, width) * share).round()
        };
        Reading {
            ten_minutes: hashrate(10 * MINUTE, 1, 0.3),
            hour: hashrate(HOUR, 2, 0.04),
            day: hashrate(DAY, 3, 0.01),
            rejects: machine.rejects * noise(4, 0.5),
            last_active: self.last_active(machine, now),
        }
    }

    /// The share of a time in which a machine worked.
    fn uptime(&self, machine: &Machine, from: i64, to: i64) -> f64 {
        let down: i64 = self
            .outages(machine, from, to)
            .into_iter()
            .map(|(begin, end)| (end.min(to) - begin.max(from)).max(0))
            .sum();
        (1.0 - down as f64 / (to - from) as f64).max(0.0)
    }

    /// Whether what the pool tells of a machine's rejected shares is no number.
    pub fn is_garbled(&self, machine: &Machine, now: i64) -> bool {
        self.incidents_of(machine).any(|incident| incident.trouble == Trouble::Garbled && incident.is_on(now))
    }

    /// What a machine delivers of what it should while it works.
    fn throttled(&self, machine: &Machine, from: i64, to: i64) -> f64 {
        let share = if machine.quirk == Quirk::Throttled { 0.66 } else { 1.0 };
        self.incidents_of(machine).fold(share, |share, incident| {
            let Trouble::Throttled(to_share) = incident.trouble else { return share };
            let overlap = (incident.to.min(to) - incident.from.max(from)).max(0) as f64 / (to - from) as f64;
            share * (1.0 - overlap * (1.0 - to_share))
        })
    }

    fn last_active(&self, machine: &Machine, now: i64) -> i64 {
        let outage = self.outages(machine, now - 1, now).into_iter().find(|&(begin, end)| begin < now && now <= end);
        outage.map_or(now, |(begin, _)| begin - begin.rem_euclid(REFRESH))
    }

    /// When a machine did not work, of all that may touch the given time; the outages do not overlap.
    fn outages(&self, machine: &Machine, from: i64, to: i64) -> Vec<(i64, i64)> {
        let mut outages = self.usual_outages(machine, from, to);
        for incident in self.incidents_of(machine).filter(|incident| incident.trouble == Trouble::Stopped) {
            outages.retain(|&(begin, end)| end <= incident.from || incident.to <= begin);
            outages.push((incident.from, incident.to));
        }
        outages
    }

    fn usual_outages(&self, machine: &Machine, from: i64, to: i64) -> Vec<(i64, i64)> {
        match machine.quirk {
            Quirk::Retired => vec![(self.began - 40 * DAY, i64::MAX)],
            Quirk::DyingRack => (-1..=(to - from) / (2 * HOUR) + 1)
                .map(|n| {
                    let cycle = from - (from - self.began).rem_euclid(2 * HOUR) + n * 2 * HOUR;
                    (cycle + 10 * MINUTE, cycle + 30 * MINUTE)
                })
                .collect(),
            Quirk::None | Quirk::Removed | Quirk::Throttled => (from.div_euclid(DAY) - 1..=to.div_euclid(DAY))
                // One machine in twelve stops on a given day.
                .filter(|&day| self.chance([machine.id, day as u64, 5]) < 1.0 / 12.0)
                .map(|day| {
                    let chance = |salt| self.chance([machine.id, day as u64, salt]);
                    let begin = day * DAY + (chance(6) * (20 * HOUR) as f64) as i64;
                    let (least, most) = self.stops;
                    (begin, begin + least + (chance(7) * (most - least) as f64) as i64)
                })
                .collect(),
        }
    }
}

/// How hashrates swing over the day: hot afternoons cost 3 %.
pub fn rhythm(at: i64) -> f64 {
    let hour = (at + 5 * HOUR).rem_euclid(DAY) as f64 / HOUR as f64;
    1.0 - 0.03 * (1.0 + ((hour - 15.0) / 24.0 * std::f64::consts::TAU).cos()) / 2.0
}

/// Sebastiano Vigna's splitmix64 finalizer, over a few numbers: cheap, and well enough spread for noise.
fn hash(seed: u64, of: [u64; 3]) -> u64 {
    of.into_iter().fold(seed, |state, number| {
        let mut z = (state ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}
