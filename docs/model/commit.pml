/*
 * The commit path: two compactors, a rollback, a producer, and a late retry that puts back what was retired.
 *
 * One step of a process is one request to S3 or DynamoDB. Between any two steps anything may happen: another process
 * moves, the lease expires, or the process stops for ever (it is never scheduled again, or `goto stopped`: its execution
 * died, and the next one starts under its name). Files of the code are named at each step.
 *
 * Sets of deltas and versions are bit masks. Delta d is an operation on one and the same id (upsert, delete, upsert
 * again): "as delta d left it" is all that can be known of the id, and `last` is d + 1. One producer writes them one
 * after the other, so the order of their numbers is S3's order (settle.pml is about how that order comes to be); a body
 * that is put back has a later time and sorts behind them all.
 *
 * Without a switch it is the protocol. Each switch takes one thing away; check.py says what has to break then.
 */

#ifndef DELTAS
#define DELTAS 3
#endif
#ifndef RUNS
#define RUNS 4                 /* leases that are given out, all processes together: versions 1 .. RUNS */
#endif
#ifndef COMPACTORS
#define COMPACTORS 2
#endif
#ifndef ROLLBACKS
#define ROLLBACKS 1
#endif

#include "properties.pml"
#include "store.pml"

#define ROLLER (COMPACTORS + 1)
#ifdef LOCK_LOST
bit item_deleted;
#endif
byte lock_owner, lock_token;   /* no expiry: an acquisition is possible at every moment, as if it had just passed */

/* ---- the lock: stores/leases.py, compaction/lock.py ------------------------------------------------------------ */

#ifdef LOCK_USELESS            /* not broken: the lock's every promise is taken away, and nothing may happen */
#define MINE true
#else
#define MINE (lock_owner == me && lock_token == v[n].token)
#endif

/* stores.leases.claim: a new owner's token is max(token, floor) + 1; lock.token_floor: what S3 has seen. */
inline acquire() {
#ifdef LOCK_LOST
  d_step {                     /* the floor is read before the lock item */
    floor = 0;
#ifndef NO_FLOOR
    floor = v[pointer].token;
    i = 0;
    do
    :: i <= RUNS ->
       if :: v[i].written && v[i].token > floor -> floor = v[i].token :: else fi;
       i++
    :: else -> break
    od;
    i = 0
#endif
  };
#endif
  d_step {
    runs < RUNS && (runs > 0 || me == 1) ->     /* the compactors are alike: the first run is the first one's */
    runs++;
    n = runs;
#ifdef LOCK_USELESS
    v[n].token = n
#else
    if :: lock_owner != 0 && lock_owner != me -> SEEN(takeover_of_a_lease_that_expired) :: else fi;
#ifdef LOCK_LOST
    lock_token = (lock_token > floor -> lock_token : floor) + 1;
    floor = 0;
#else
    lock_token++;
#endif
    lock_owner = me;
    v[n].token = lock_token
#endif
  }
}

inline release() {             /* release_lock.py */
  atomic {
#ifdef RELEASE_ANY
    if
    :: lock_owner != 0 -> MUST(inv7_only_ones_own_lock, MINE); lock_owner = 0
    :: else
    fi
#else
    if
    :: lock_owner != 0 && MINE -> MUST(inv7_only_ones_own_lock, lock_owner == me && lock_token == v[n].token);
       lock_owner = 0
    :: else -> SEEN(release_of_a_lock_that_passed_on)
    fi
#endif
  }
}

/* ---- the commit: pointer.promote ------------------------------------------------------------------------------- */

#ifdef NO_IF_MATCH
#define MATCHES true
#else
#define MATCHES (pointer == base)
#endif
#ifdef NO_GUARD
#define NEWER true
#else
#define NEWER (v[n].token > v[base].token)
#endif

#define COMMITTING 1
#define UNSURE 2
#define DONE 3
#define FAILED 4

/* The PUT, If-Match (for the first version If-None-Match). `taken`: the deltas that this run adds. */
inline put_pointer(taken) {
  d_step {
    if
    :: NEWER && MATCHES ->
       MUST(inv1_one_promotion_per_etag, (pinned_etags & BIT(base)) == 0);
       MUST(inv1_tokens_grow, v[n].token > v[pointer].token);
       MUST(inv3_content_in_order, v[n].last == LAST(v[n].content));
       MUST(inv3_no_delta_left_out, (v[n].ever & (v[n].ever + 1)) == 0);
       MUST(inv5_applied_once, ((taken) & v[base].ever) == 0);
       if :: !MINE -> SEEN(promotion_after_the_lock_was_lost) :: else fi;
#ifdef LOCK_LOST
       if :: item_deleted && MINE && lock_token != n -> SEEN(promotion_after_the_loss) :: else fi;
#endif
       if :: v[base].content != v[n].content && me == ROLLER -> SEEN(rollback_that_undoes_something) :: else fi;
       if :: v[base].ever != v[base].content && (taken) != 0 -> SEEN(compaction_over_a_rollback) :: else fi;
       pointer = n;
       pinned_etags = pinned_etags | BIT(base);
       promotions = promotions | BIT(n);
       contained = contained | v[n].content;
       MUST(inv4_nothing_is_lost, (acknowledged & ~listed_deltas & ~v[pointer].ever) == 0);
       outcome = DONE
    :: else -> outcome = UNSURE; SEEN(promotion_refused)
    fi
  }
}

#ifdef REFUSAL_BELIEVED
#define HAPPENED false
#else
#define HAPPENED DESCENDS(pointer, n)
#endif

/* The pointer is not as it was pinned: somebody else moved it, or we did and the reply was lost. */
inline read_pointer_again() {
  d_step {
    if
    :: HAPPENED ->
       outcome = DONE;
       if :: pointer != n -> SEEN(lost_reply_resolved_by_a_descendant) :: else SEEN(lost_reply_resolved) fi
    :: else ->
       outcome = FAILED;
       MUST(inv9_refused_run_changed_nothing, (promotions & BIT(n)) == 0)
    fi
  }
}

inline promote(taken) {
  do
  :: outcome == COMMITTING ->
     atomic {
       put_pointer(taken);
       if
       :: true
#ifndef REPLIES_ARRIVE
       :: outcome == DONE -> outcome = COMMITTING     /* the reply is lost: the request is sent again */
#endif
       fi
     }
  :: outcome == UNSURE -> read_pointer_again()
  :: outcome == DONE || outcome == FAILED -> break
  od
}

/* ---- the processes --------------------------------------------------------------------------------------------- */

proctype Compactor(byte me) {
  byte n, base, pending, again, todo, outcome;
#ifdef LOCK_LOST
  byte floor, i;
#endif

idle:
  acquire();
  base = pointer;              /* Download: pin */
  d_step {                     /* Download: list_pending; a second life sorts behind the first lives */
    pending = listed_deltas & ~v[base].applied;
    todo = listed_deltas & v[base].applied;           /* plan.still_listed */
    again = second_life & pending
  };

  /* Download, Merge, Upload: what others can see of them. Renewals are left out or come early: less is refused here
     than there. Merge works on private copies (attempts.pml), and nobody reads a version that is not yet current. */
  atomic {
    if
    :: pending != 0 ->
#ifndef NO_EARLIER_LIFE
       d_step {                /* selection.without_second_lives: the history tells; what came back is deleted again */
         again = pending & markers;
         if :: (again & second_life) != 0 -> SEEN(second_life_retired_again) :: else fi;
         delete_deltas(again);
         pending = pending & ~again;
         again = 0
       };
#endif
       if                      /* selection.select: all, or only the oldest */
       :: true
       :: (pending & ~again) != 0 && pending != FIRST(pending & ~again) ->
#ifdef NEWEST_FIRST
          pending = BIT(LAST(pending & ~again) - 1);
#else
          pending = FIRST(pending & ~again);
#endif
          again = 0;
          SEEN(backlog_split)
       fi
    :: else
    fi;
    if
    :: pending == 0 && base == 0 -> goto free
    :: pending == 0 && base != 0 -> todo = v[base].applied; goto retire  /* AnyDeltas? -> Retire(base) */
    :: pending != 0 && !MINE -> SEEN(lock_lost_before_the_commit); goto free
    :: pending != 0 && MINE ->
       d_step {
         v[n].written = 1;
         v[n].line = v[base].line | BIT(n);
         v[n].applied = todo | pending;
         v[n].last = (again != 0 -> LAST(again) : LAST(pending));
         v[n].content = v[base].content | pending;
         v[n].ever = v[base].ever | pending;
         todo = 0; again = 0;
#ifdef RETIRE_FIRST
         delete_deltas(pending);
#endif
         outcome = COMMITTING
       }
    fi
  };
  promote(pending);            /* PromotePointer */
  atomic {
    pending = 0;
    if
    :: outcome == DONE -> outcome = 0; base = n; todo = v[n].applied
    :: else -> goto free
    fi
  };

retire:                        /* Retire, without its renewal: the pointer decides, not the lock */
  atomic {
    if
    :: DESCENDS(pointer, base) -> if :: pointer != base -> SEEN(retirement_for_an_ancestor) :: else fi
    :: else -> todo = 0
    fi;
    base = 0
  };
  do                           /* in any order; after any of them the process may stop */
  :: (todo & 1) != 0 -> d_step { todo = todo & ~1; delete_deltas(1) }
  :: (todo & 2) != 0 -> d_step { todo = todo & ~2; delete_deltas(2) }
  :: (todo & 4) != 0 -> d_step { todo = todo & ~4; delete_deltas(4) }
  :: todo == 0 -> goto free
  :: todo != 0 -> goto stopped
  od;

free:
  atomic { release(); goto stopped };
stopped:
  atomic { n = 0; base = 0; pending = 0; again = 0; todo = 0; outcome = 0; goto idle }
}

#if ROLLBACKS > 0
proctype Rollback() {          /* rollback.py */
  byte me = ROLLER;
  byte n, base, to, outcome;
#ifdef LOCK_LOST
  byte floor, i;
#endif

  acquire();
  d_step { base = pointer };
  if                           /* an older version that has a manifest, whether or not it ever was current */
  :: v[1].written && v[1].token < v[base].token -> to = 1
  :: v[2].written && v[2].token < v[base].token -> to = 2
#if RUNS > 3
  :: v[3].written && v[3].token < v[base].token -> to = 3
#endif
  :: else -> goto free
  fi;
#ifdef ROLLBACK_TO_OLD_BODY
  d_step {
    if
    :: pointer == base ->
       MUST(inv1_tokens_grow, v[to].token > v[pointer].token);
       pointer = to
    :: else
    fi
  };
  goto free;
#else
  d_step {
    if :: (promotions & BIT(to)) == 0 -> SEEN(rollback_to_a_version_that_never_was_current) :: else fi;
    v[n].written = 1;
    v[n].line = v[base].line | BIT(n);
    v[n].last = v[to].last;
    v[n].content = v[to].content;
    v[n].ever = v[base].ever | v[to].content;
#ifdef ROLLBACK_APPLIED_OF_OLD
    v[n].applied = v[to].applied;
#else
#ifdef ROLLBACK_APPLIED_OF_CURRENT
    v[n].applied = v[base].applied;
#else
    v[n].applied = v[base].applied | v[to].applied;
#endif
#endif
    to = 0;
    outcome = (MINE -> COMMITTING : FAILED)
  };
  promote(0);
#endif
free:
  release()
}
#endif

#ifdef LOCK_LOST
proctype Operator() {          /* the lock item is deleted, once */
  d_step { lock_token != 0 -> lock_owner = 0; lock_token = 0; item_deleted = 1; SEEN(lock_item_deleted) }
}
#endif

#ifdef READER
byte held;                     /* the version that the reader has open; 0: none yet */
#include "reader.pml"
#endif

init {
  atomic {
    byte c = 1;
    do
    :: c <= COMPACTORS -> run Compactor(c); c++
    :: else -> break
    od;
#if ROLLBACKS > 0
    run Rollback();
#endif
    run Producer();
    run LateRetry();
#ifdef LOCK_LOST
    run Operator();
#endif
#ifdef READER
    run Reader();
#endif
  }
}
