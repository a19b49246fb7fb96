/*
 * A reader, beside everything that compaction, rollback and retirement can do to what it sees.
 *
 * commit.pml proves what is assumed here: a promotion's base is the pointer as it is, tokens grow, deltas are deleted
 * only when a version that was current contains them. So one process stands for every run, another for
 * every deletion, whoever makes it and however late. They do more than the real ones can, never less: a run lists at
 * any time after its base became current, and what may be deleted is deleted at any time. commit.pml with READER is
 * the same reader beside the real ones, in a smaller world.
 */

#ifndef DELTAS
#define DELTAS 3
#endif
#ifndef RUNS
#define RUNS 4
#endif

#include "properties.pml"
#include "store.pml"

byte held;                     /* the version that the reader has open; 0: none yet */
bit rolled_back;
byte retirable;                /* deltas that the manifest of a version names that is or was current */

inline promote(version) {
  pointer = version;
  promotions = promotions | BIT(version);
  contained = contained | v[version].content;
  retirable = retirable | v[version].applied;
  MUST(inv4_nothing_is_lost, (acknowledged & ~listed_deltas & ~v[pointer].ever) == 0)
}

/* Not the protocol's: what nobody can come back to is taken out of the state space. */
inline forget_old() {
  d_step {
    n = 1;
    do
    :: n <= RUNS ->
       if
       :: rolled_back && n != pointer && n != held -> v[n].written = 0; v[n].applied = 0; v[n].last = 0;
          v[n].content = 0; v[n].ever = 0
       :: else
       fi;
       n++
    :: else -> break
    od;
    n = 0
  }
}

/* All compactions. One that is refused or dies leaves a version that never was current. */
proctype Compaction() {
  byte n, base, pending, still;
  do
  :: runs < RUNS ->
     d_step {                  /* pin, list, look at the history */
       base = pointer;
       pending = listed_deltas & ~v[base].applied & ~markers;
       still = listed_deltas & v[base].applied
     };
     atomic {
       if
       :: pending != 0 && runs < RUNS ->
          if :: true :: pending != FIRST(pending) -> pending = FIRST(pending) fi;
          d_step {
            runs++;
            n = runs;
            v[n].written = 1;
            v[n].token = n;
            v[n].applied = still | pending;
            v[n].last = LAST(pending);
            v[n].content = v[base].content | pending;
            v[n].ever = v[base].ever | pending
          };
          if
          :: pointer == base -> promote(n)
          :: SEEN(version_that_never_was_current)
          fi
       :: else
       fi;
       forget_old();
       base = 0; pending = 0; still = 0
     }
  :: else -> break
  od
}

proctype Rollback() {          /* once, to any version with a manifest that is older than the current one */
  byte to, n;
  atomic {
    runs < RUNS && pointer > 1 ->
    if
    :: v[1].written && 1 < pointer -> to = 1
    :: v[2].written && 2 < pointer -> to = 2
    :: v[3].written && 3 < pointer -> to = 3
    fi;
    d_step {
      runs++;
      n = runs;
      v[n].written = 1;
      v[n].token = n;
      v[n].applied = v[pointer].applied | v[to].applied;
      v[n].last = v[to].last;
      v[n].content = v[to].content;
      v[n].ever = v[pointer].ever | v[to].content;
      promote(n);
      rolled_back = 1;
      SEEN(rollback)
    };
    forget_old()
  }
}

proctype Retirement() {        /* by any run, of any version that ever was current; also of what came back */
end_waiting:
  do
  :: d_step { (listed_deltas & retirable & 1) != 0 -> delete_deltas(1) }
  :: d_step { (listed_deltas & retirable & 2) != 0 -> delete_deltas(2) }
  :: d_step { (listed_deltas & retirable & 4) != 0 -> delete_deltas(4) }
  od
}

#ifdef FOREIGN_POINTER
proctype Foreigner() {         /* somebody writes an older version's body into the pointer, once */
  if
  :: d_step { pointer > 1 && (promotions & 2) != 0 -> pointer = 1 }
  :: d_step { pointer > 2 && (promotions & 4) != 0 -> pointer = 2 }
  fi
}
#endif

#include "reader.pml"

init {
  atomic {
    run Compaction();
    run Rollback();
    run Retirement();
    run Producer();
    run LateRetry();
#ifdef FOREIGN_POINTER
    run Foreigner();
#endif
    run Reader()
  }
}
