/*
 * A reader: snapshot reads and strong reads, in any order, without end. Included by read.pml and by commit.pml.
 *
 * It keeps between its reads what a process keeps: the version that it has open, the pointer's ETag that it saw, and
 * the rows of pending deltas. Opening a version may fail at any time.
 */


/* SnapshotReader._follow: a conditional GET; what it names is opened if its token is greater; only what is open counts
   as seen. In one step, since versions never change. `failed`: the version could not be fetched. */
inline ask_pointer() {
  if
  :: pointer == etag -> skip
  :: pointer != etag && v[pointer].token > v[held].token -> held = pointer; etag = pointer
  :: pointer != etag && v[pointer].token <= v[held].token -> etag = pointer;
#ifdef OLDER_TOKEN_TOO
     held = pointer
#endif
  :: pointer != etag && v[pointer].token > v[held].token -> failed = 1; SEEN(version_could_not_be_opened);
#ifdef ETAG_BEFORE_OPEN
     etag = pointer
#endif
  fi
}

inline answered_from_held() {
  MUST(inv6_never_back, v[held].token >= v[shown].token);
  shown = held
}

/* What the answer says of the id: the last pending operation, if any, else the version. */
#define SHOWN ((kept & again) != 0 -> LAST(kept & again) : (kept != 0 -> LAST(kept) : v[held].last))

proctype Reader() {
  byte etag;                   /* of the pointer, when it was last asked and answered */
  byte kept;                   /* pending deltas whose rows are in memory, of their first lives */
  byte wanted, again, missing; /* `again`: of the wanted ones, those that were listed in a second life */
  byte owed;                   /* ghost: acknowledged before this read began */
  byte shown;                  /* ghost: the version that an answer came from last */
  bit failed;

  do
  ::                           /* a snapshot read. reader.py: refresh, or go on with what is there */
     atomic { ask_pointer(); answered_from_held(); failed = 0 }

  ::                           /* a strong read. pending.py: list, read the pointer, fetch, list again */
#ifdef POINTER_FIRST
     atomic { owed = acknowledged; ask_pointer(); if :: failed -> goto answered :: else fi };
     atomic { wanted = listed_deltas; again = second_life };
#else
     atomic { owed = acknowledged; wanted = listed_deltas; again = second_life };
     atomic { ask_pointer(); if :: failed -> goto answered :: else fi };
#endif
     atomic {                  /* with_earlier_life of what is not in memory, and fetch that */
       wanted = wanted & ~v[held].applied;
       again = again & wanted;
       kept = kept & wanted & ~again;
       missing = wanted & ~kept;
#ifndef NO_HISTORY
       if :: (missing & markers & again) != 0 -> SEEN(reader_leaves_a_second_life_out) :: else fi;
       if :: (missing & markers & ~again) != 0 -> SEEN(retired_before_the_reader_looked_at_the_history) :: else fi;
       missing = missing & ~markers;
#endif
#ifdef LIST_ONCE
       if                      /* If-Match: the body, and so the ETag, is the same in both lives */
       :: (missing & ~listed_deltas) != 0 -> SEEN(fetch_of_a_retired_delta); goto answered
       :: else
       fi;
#endif
       kept = kept | missing
     };
     atomic {
#ifndef LIST_ONCE
       if                      /* whatever the fetching said: all is there as it was, or everything starts over */
       :: (wanted & ~listed_deltas) != 0 || (second_life & wanted) != again ->
          SEEN(strong_read_starts_over);
          goto answered
       :: else
       fi;
#endif
       MUST(inv3_strong_answer_in_order, SHOWN == LAST(v[held].content | kept));
       MUST(inv6_strong_read_sees_all_acknowledged, (owed & ~(v[held].ever | kept)) == 0);
       if :: kept != 0 && held != 0 -> SEEN(pending_laid_over_a_version) :: else fi;
       if :: (owed & v[held].ever & ~(v[held].content | kept)) != 0 -> SEEN(acknowledged_but_rolled_back) :: else fi;
       answered_from_held();
answered:
       wanted = 0; again = 0; missing = 0; owed = 0; failed = 0
     }
  od
}
