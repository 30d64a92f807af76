-- Which restore from a backup this database follows: 0, or the time of the latest `rejoinder restored` in microseconds since 1970. Event
-- cursors of another epoch are refused. One row.
create table store_epoch (
    id integer primary key not null check (id = 1),
    epoch integer not null
) strict;
insert into store_epoch (id, epoch) values (1, 0);
