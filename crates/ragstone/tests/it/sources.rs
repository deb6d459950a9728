//! Sources, as their operators use them: what a sync holds back, and how it is let through.

use crate::support::{Sandbox, Server};

fn documents(home: &Sandbox) -> usize {
    home.run(&["--json", "document", "list"]).ended(0).lines().len()
}

#[test]
fn an_unmounted_folder_empties_nothing_until_it_is_allowed() {
    let home = Sandbox::lexical();
    for n in 0..12 {
        home.write(&format!("disk/{n:02}.md"), format!("Pump {n} is serviced by crew {n}."));
    }
    let _server = Server::start(&home);
    let folder = home.path().join("disk");
    let add = [
        "source",
        "add",
        "folder",
        "plant",
        folder.to_str().unwrap(),
        "--readers",
        "everyone",
    ];
    home.run(&add).ended(0);
    let sync = ["--json", "source", "sync", "plant"];
    assert_eq!(home.run(&sync).ended(0).json()["new"], 12);
    let away = home.path().join("away");
    std::fs::rename(&folder, &away).unwrap();
    std::fs::create_dir(&folder).unwrap();
    let held = home.run(&sync).ended(1);
    let told = held.json();
    assert_eq!(
        (&told["deleted"], &told["held"], &told["state"]),
        (&0.into(), &12.into(), &"held".into())
    );
    let command = "ragstone source sync plant --allow-deletions";
    assert!(held.err.contains(command), "{}", held.err);
    assert_eq!(documents(&home), 12);
    for shown in [&["source", "show", "plant"][..], &["source", "list"]] {
        let shown = home.run(shown).ended(0).out;
        assert!(shown.contains("12 deletions held"), "{shown}");
    }
    // The disk is back: nothing has to be done again.
    std::fs::remove_dir(&folder).unwrap();
    std::fs::rename(&away, &folder).unwrap();
    let back = home.run(&sync).ended(0).json();
    assert_eq!((&back["unchanged"], &back["held"]), (&12.into(), &0.into()));
    // It was emptied on purpose.
    for n in 0..12 {
        std::fs::remove_file(folder.join(format!("{n:02}.md"))).unwrap();
    }
    home.run(&sync).ended(1);
    let allowed = home
        .run(&["--json", "source", "sync", "plant", "--allow-deletions"])
        .ended(0)
        .json();
    assert_eq!(
        (&allowed["deleted"], &allowed["state"]),
        (&12.into(), &"succeeded".into())
    );
    assert_eq!(documents(&home), 0);
    // A source that yields nothing says so.
    let nothing = home.run(&sync).ended(1);
    assert!(nothing.err.contains("lists nothing"), "{}", nothing.err);
}
