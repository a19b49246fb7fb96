/*
 * How the order of deltas comes to be: S3's clock in whole seconds, then the key, and a margin before a run takes them.
 *
 * Time passes in half seconds. A PUT gets its time when it starts, in whole seconds, and shows up at any moment until
 * TIMEOUT half seconds later (then its writer has given up on it). One producer writes deltas 0 and 1, one after the
 * other; another writes delta 2 whenever it likes, and its key may sort before or behind the others'. Runs follow one
 * another; each lists, key by key, and takes what has settled by the clock of the first reply.
 */

#define TIMEOUT 2
#define END 12                 /* half seconds */

#include "properties.pml"

#ifdef NO_MARGIN
#define MARGIN 0
#else
#define MARGIN 1               /* seconds: the writers' timeout */
#endif
#ifdef NOT_STRICTLY_OLDER
#define SETTLED(stamp) ((stamp) + MARGIN <= date)
#else
#define SETTLED(stamp) ((stamp) + MARGIN < date)
#endif

byte now;                      /* half seconds */
#define S3_CLOCK (now / 2 + 2)
byte stamp[3], started[3];     /* seconds by S3's clock; half seconds */
bit begun[3], visible[3];
byte key[3];                   /* 1 .. 4, all different */
bit merged[3];
byte last = 0;                 /* order of the last delta that was merged: 8 * stamp + key */
byte skew;                     /* of the second producer's clock, where that counts: 2 is none */

#define ORDER(d) (8 * stamp[d] + key[d])
#define IN_TIME(d) (!begun[d] || visible[d] || now - started[d] < TIMEOUT)

inline start(d) {
  d_step {
    begun[d] = 1;
    started[d] = now;
#ifdef PRODUCER_CLOCK
    stamp[d] = now / 2 + (d == 2 -> skew : 2)
#else
    stamp[d] = S3_CLOCK
#endif
  }
}

proctype Time() {
end_of_time:
  do
  :: d_step { now < END && IN_TIME(0) && IN_TIME(1) && IN_TIME(2) -> now++ }
  od
}

proctype Producer() {
  start(0);
  visible[0] = 1;
  start(1);
  visible[1] = 1
}

proctype Other() {
  if :: key[2] = 1 :: key[2] = 4 fi;
#ifdef PRODUCER_CLOCK
  if :: skew = 0 :: skew = 4 fi;
#endif
  start(2);
  visible[2] = 1
}

/* A page of the listing: what is visible now. */
inline look(d) {
  atomic { if :: visible[d] && !merged[d] -> listed[d] = 1 :: else fi }
}

inline take(d) {
  if
  :: listed[d] && SETTLED(stamp[d]) ->
     MUST(inv3_runs_take_a_prefix_of_the_order, ORDER(d) > last);
     merged[d] = 1
  :: else
  fi
}

proctype Runs() {
  bit listed[3];
  byte date;
end_idle:
  do
  :: date = S3_CLOCK;          /* the Date of the first reply */
     if                        /* in the order of the keys */
     :: key[2] == 1 -> look(2); look(0); look(1)
     :: else -> look(0); look(1); look(2)
     fi;
#ifdef DATE_OF_LAST_REPLY
     date = S3_CLOCK;
#endif
     d_step {
       take(0); take(1); take(2);
       if :: merged[0] && ORDER(0) > last -> last = ORDER(0) :: else fi;
       if :: merged[1] && ORDER(1) > last -> last = ORDER(1) :: else fi;
       if :: merged[2] && ORDER(2) > last -> last = ORDER(2) :: else fi;
       if :: merged[0] && merged[1] && merged[2] -> SEEN(all_deltas_merged) :: else fi;
       if :: merged[0] && !merged[1] && merged[2] && ORDER(2) > ORDER(0) -> SEEN(other_producer_merged_in_between) :: else fi;
       if :: begun[0] && begun[1] && stamp[0] == stamp[1] && merged[1] -> SEEN(two_deltas_of_one_second) :: else fi;
       if :: (listed[0] && !merged[0]) || (listed[2] && !merged[2]) -> SEEN(delta_waits_until_it_settled) :: else fi;
       listed[0] = 0; listed[1] = 0; listed[2] = 0; date = 0
     }
  od
}

init {
  atomic {
    key[0] = 2; key[1] = 3; key[2] = 4;
    run Time(); run Producer(); run Other(); run Runs()
  }
}
