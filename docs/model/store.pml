/* What lies in S3, who deletes, and the producer. */

#define BIT(i)  (1 << (i))
#define LAST(m) (((m) & 4) -> 3 : (((m) & 2) -> 2 : ((m) & 1)))   /* number, from 1, of the last delta of a set */
#define FIRST(m) ((m) & (~(m) + 1))                               /* the set with the first delta of a set alone */

typedef Version {              /* a manifest; the version's number stands for its id, stamp and token together */
  bit written;
  byte token;
  byte line;                   /* itself and its ancestors, which the code finds by following `parent` */
  byte last;                   /* what the snapshot says of the id: 0 nothing, d + 1 as delta d left it */
  byte applied;
  byte content;                /* ghost: the deltas in it */
  byte ever                    /* ghost: the deltas in it or in an ancestor (a rollback undoes some of those) */
};
Version v[RUNS + 1];           /* 0: there is none */

byte pointer;                  /* body; the ETag is a function of the body, so it is the ETag too. 0: never written */
byte runs;

byte listed_deltas;            /* keys with a current object */
byte second_life;              /* of these: written over a delete marker, so with a later time */
byte markers;                  /* keys with a delete marker in their history */
byte acknowledged;             /* ghost: what the producer knows to be durable */
byte promotions;               /* ghost: versions that ever were current */
byte pinned_etags;             /* ghost: ETags on which a promotion was made */
byte contained;                /* ghost: deltas of all versions that ever were current */

#define DESCENDS(version, ancestor) ((v[version].line & BIT(ancestor)) != 0)

/* ---- deletion, for both who delete ----------------------------------------------------------------------------- */

/* deltas.retire.retire_delta: DELETE If-Match; both lives of a key have the same body, so the same ETag. */
inline delete_deltas(mask) {
  MUST(inv4_deleted_only_when_contained, (listed_deltas & (mask) & ~contained) == 0);
  markers = markers | (listed_deltas & (mask));
  second_life = second_life & ~(mask);
  listed_deltas = listed_deltas & ~(mask);
  MUST(inv4_nothing_is_lost, (acknowledged & ~listed_deltas & ~v[pointer].ever) == 0)
}

proctype Producer() {          /* writer.py: one create-only PUT for each delta, one after the other */
  byte d = 0;
  do
  :: d < DELTAS ->
     d_step { listed_deltas = listed_deltas | BIT(d); acknowledged = acknowledged | BIT(d); d++ }
  :: else -> break
  od
}

proctype LateRetry() {         /* a PUT that was on its way, or looked at the history before the first one arrived */
end_waiting:
  do
  :: d_step { (markers & ~listed_deltas & 1) != 0 -> listed_deltas = listed_deltas | 1; second_life = second_life | 1 }
  od
}

