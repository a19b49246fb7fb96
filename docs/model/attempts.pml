/*
 * One run whose states are tried again while the attempt before still runs somewhere.
 *
 * The machine waits for an attempt's reply. It may give up at any time (a timeout, a lost reply), start the second one
 * and wait for that; the first goes on to its end, whenever that is. What it says is heard by nobody, what it writes is
 * written. Everything after AcquireLock has two attempts; meanwhile deltas arrive, the lock passes on, and
 * another run promotes.
 */

#define DELTAS 2
#define RUNS 2
#include "properties.pml"

#define OURS 1
#define RIVAL 2

/* A file's content is who made it: two attempts at one merge apply the same operations, yet write other bytes. */
typedef Attempt {              /* what lies in staging under its prefix, and what it replied */
  byte parts;                  /* Download: operations of these deltas */
  byte plan;                   /* Download: the deltas that its plan names */
  byte store;                  /* Merge: one file: operations that were applied to it */
  byte store_by, index_by;     /* Merge: its two files: written by which attempt */
  bit downloaded, merged, uploaded, refused, promoted, retired
};
Attempt t[3];                  /* attempts are 1 and 2; 0 is the prefix that both share where a switch says so */

byte plan_by, work_by;         /* the attempts whose results the machine heard, so which the next state reads */
byte state = 1;                /* of the machine: 1 Download .. 5 Retire, 6 ended */

byte listed_deltas = 1;
byte pointer;                  /* 0: the base, which is empty */
bit taken_over;                /* the lock has another owner or token */

byte made_of, applied;         /* our version: its content, and what its manifest names */
byte file_store, file_index;   /* its files: by which attempt */
byte recorded_store, recorded_index;
bit manifest;

#ifdef SHARED_PREFIX
#define PREFIX(a) 0
#else
#define PREFIX(a) (a)
#endif

proctype Download(byte a) {
  byte todo, deltas;
  todo = listed_deltas;
  deltas = todo;
#ifdef SHARED_PREFIX
  t[PREFIX(a)].parts = 0;      /* its part-00000 replaces what was there */
#endif
  do                           /* parts, the newest delta first */
  :: (todo & 2) != 0 -> atomic { t[PREFIX(a)].parts = t[PREFIX(a)].parts | 2; todo = todo & ~2 }
  :: (todo & 2) == 0 && (todo & 1) != 0 -> atomic { t[PREFIX(a)].parts = t[PREFIX(a)].parts | 1; todo = 0 }
  :: todo == 0 -> break
  od;
  atomic { t[a].plan = deltas; t[a].downloaded = 1; deltas = 0 }
}

proctype Merge(byte a) {
  byte operations;
#ifdef BY_LISTING
  operations = t[1].parts | t[2].parts;
#else
  operations = t[PREFIX(plan_by)].parts;
#endif
  atomic { t[PREFIX(a)].store = operations; t[PREFIX(a)].store_by = a; operations = 0 };
  t[PREFIX(a)].index_by = a;
  t[a].merged = 1
}

proctype Upload(byte a) {      /* publish: copies, then the manifest, create-only; all it says comes from documents */
  byte store_by, index_by;
  atomic { store_by = t[PREFIX(work_by)].store_by; file_store = store_by };
  atomic {
    index_by = t[PREFIX(work_by)].index_by;
    MUST(inv2_published_files_stay, !manifest || (file_store == recorded_store && index_by == recorded_index));
    file_index = index_by
  };
  atomic {
    if
    :: !manifest ->
       manifest = 1;
       made_of = t[PREFIX(work_by)].store;
       applied = t[plan_by].plan;
       recorded_store = store_by;
       recorded_index = index_by
    :: else
    fi;
    store_by = 0; index_by = 0;
    t[a].uploaded = 1
  }
}

proctype PromotePointer(byte a) {
  if
  :: taken_over -> t[a].refused = 1
  :: !taken_over ->            /* renewed; from here on the lock may pass on at any time */
     d_step {
       if
       :: pointer == 0 ->
          MUST(inv3_content_in_order, made_of == applied);
          MUST(inv2_files_of_one_attempt, file_store == file_index);
          if :: taken_over -> SEEN(promotion_after_the_lock_was_lost) :: else fi;
          if :: t[3 - a].plan != 0 && t[3 - a].plan != applied -> SEEN(the_two_attempts_planned_differently) :: else fi;
          if :: state == 6 -> SEEN(run_that_was_given_up_promotes_after_all) :: else fi;
          pointer = OURS;
          t[a].promoted = 1
       :: pointer == OURS -> t[a].promoted = 1; SEEN(second_attempt_finds_it_done)
       :: else -> t[a].refused = 1; SEEN(promotion_refused)
       fi
     }
  fi
}

proctype Retire(byte a) {
  byte todo;
  atomic {
    if
    :: pointer == OURS -> todo = applied
    :: else
    fi
  };
  do
  :: todo != 0 ->
     atomic {
       MUST(inv4_deleted_only_when_contained, (made_of & todo) == todo || (listed_deltas & todo & ~made_of) == 0);
       listed_deltas = listed_deltas & ~todo;
       todo = 0
     }
  :: else -> break
  od;
  t[a].retired = 1
}

proctype Machine() {
  byte heard;
  run Download(1);
  if
  :: t[1].downloaded -> heard = 1
  :: run Download(2); t[2].downloaded -> heard = 2
  fi;
  atomic { plan_by = heard; state = 2 };
  run Merge(1);
  if
  :: t[1].merged -> heard = 1
  :: run Merge(2); t[2].merged -> heard = 2
  fi;
  atomic { work_by = heard; state = 3 };
  run Upload(1);
  if
  :: t[1].uploaded
  :: run Upload(2); t[2].uploaded
  fi;
  state = 4;
  run PromotePointer(1);
  if
  :: t[1].promoted
  :: t[1].refused -> goto ended
  :: run PromotePointer(2);
     if
     :: t[2].promoted
     :: t[2].refused -> goto ended
     fi
  fi;
  state = 5;
  run Retire(1);
  if
  :: t[1].retired
  :: run Retire(2); t[2].retired
  fi;
ended:
  atomic { heard = 0; state = 6 }
}

proctype World() {
  bit rival = 1;
  do
  :: listed_deltas == 1 && pointer == 0 -> listed_deltas = 3       /* the second delta arrives */
  :: !taken_over -> taken_over = 1
  :: d_step { taken_over && rival && pointer == 0 -> rival = 0; pointer = RIVAL }
  :: break
  od
}

init { atomic { run Machine(); run World() } }
