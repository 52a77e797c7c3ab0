-- A store as version 5 left it.
PRAGMA application_id = 1347633488;
PRAGMA user_version = 5;
BEGIN TRANSACTION;
CREATE TABLE attempts (
        no INTEGER PRIMARY KEY,
        id TEXT NOT NULL, series INTEGER NOT NULL, failed INTEGER NOT NULL,
        started_at REAL NOT NULL, duration_s REAL NOT NULL,
        outcome TEXT NOT NULL, cause TEXT NOT NULL, plane TEXT NOT NULL, why TEXT NOT NULL,
        leg TEXT NOT NULL, source TEXT NOT NULL, call_id TEXT NOT NULL,
        v INTEGER NOT NULL, observations TEXT NOT NULL, transcript TEXT
    ) STRICT;
INSERT INTO "attempts" VALUES(1,'attempt-1',1,0,1718712000.0,0.012,'pass','none','signalling','answered as expected','198.51.100.7:5060','192.0.2.10:20001','call-1@boston-a',1,'[["sent",0.001,{"method":"OPTIONS","nth":1,"size":420}],["response",0.012,{"code":200,"method":"OPTIONS","late":false}]]',NULL);
CREATE TABLE audit (
        no INTEGER PRIMARY KEY, at REAL NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL,
        why TEXT NOT NULL
    ) STRICT;
INSERT INTO "audit" VALUES(1,1718712000.0,'psapwatch','stop ma-boston','somebody answered');
INSERT INTO "audit" VALUES(2,1718712000.0,'ann','commission ma-boston/east with Sgt. Lee','');
CREATE TABLE baselines (
        path TEXT NOT NULL, "check" TEXT NOT NULL, body TEXT NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (path, "check")
    ) STRICT;
INSERT INTO "baselines" VALUES('ma-boston/east','keepalive','{"server":"Kamailio"}',1718712000.0);
CREATE TABLE calls (
        call_id TEXT PRIMARY KEY,
        psap TEXT NOT NULL, path TEXT NOT NULL, firewall TEXT NOT NULL, transport TEXT NOT NULL,
        local_host TEXT NOT NULL, local_port INTEGER NOT NULL,
        peer_host TEXT NOT NULL, peer_port INTEGER NOT NULL,
        octets BLOB NOT NULL, answer BLOB NOT NULL DEFAULT x'', invited_at REAL NOT NULL,
        ended_at REAL, how TEXT
    ) STRICT;
INSERT INTO "calls" VALUES('c1','ma-boston','east','fw-east','udp','127.0.0.1',20001,'::1',5060,X'494E564954452075726E3A736572766963653A746573742E736F73205349502F322E300D0A50726F78792D417574686F72697A6174696F6E3A2044696765737420757365726E616D653D2275222C20726573706F6E73653D22356563726537220D0A43616C6C2D49443A20633140626F73746F6E2D610D0A436F6E74656E742D4C656E6774683A20300D0A0D0A',X'',1718712000.0,NULL,NULL);
CREATE TABLE changes (at REAL NOT NULL, what TEXT NOT NULL, "by" TEXT NOT NULL) STRICT;
INSERT INTO "changes" VALUES(1718711960.0,'CHG-123','NOC');
CREATE TABLE commissioned (
        path TEXT PRIMARY KEY, target TEXT NOT NULL, supervisor TEXT NOT NULL, "by" TEXT NOT NULL,
        at REAL NOT NULL
    ) STRICT;
INSERT INTO "commissioned" VALUES('ma-boston/east','sip:psap1.example.gov','Sgt. Lee','ann',1718712000.0);
CREATE TABLE floor (psap TEXT PRIMARY KEY, at REAL NOT NULL, boot TEXT NOT NULL DEFAULT '', loop_s REAL NOT NULL DEFAULT 0) STRICT;
INSERT INTO "floor" VALUES('ma-boston',1718712000.0,'aa12b0ff-61a9-4cf5-9a22-0d2c5cf0a3f0',5012.25);
CREATE TABLE hours (
        series INTEGER NOT NULL, hour INTEGER NOT NULL, outcome TEXT NOT NULL, cause TEXT NOT NULL,
        attempts INTEGER NOT NULL, duration_s REAL NOT NULL,
        PRIMARY KEY (series, hour, outcome, cause)
    ) STRICT, WITHOUT ROWID;
CREATE TABLE incidents (
        id TEXT PRIMARY KEY, opened_at REAL NOT NULL, closed_at REAL,
        acknowledged TEXT NOT NULL, body TEXT NOT NULL
    , judged_from TEXT NOT NULL DEFAULT '') STRICT;
INSERT INTO "incidents" VALUES('incident-1',1718712010.0,NULL,'','{"id":"incident-1","alertname":"CallsBlocked","severity":"page","vantage":"boston-a","scope":"firewall","member":"fw-east","psap":"","firewall":"fw-east","cause":"calls_blocked","summary":"10 of 10 test calls through fw-east failed","opened_at":1718712010.0,"first_failure_at":1718712000.0,"last_pass_at":1718711995.0,"closed_at":null,"changed_at":0.0,"changes":0,"acknowledged":"","merged_into":"","affected":["ma-boston","ma-quincy"],"unaffected":[],"untested":[],"evidence":{"failed":10,"tried":10,"control":"pass"}}','');
CREATE TABLE last_passes (
        series INTEGER PRIMARY KEY, id TEXT NOT NULL, transcript TEXT NOT NULL
    ) STRICT;
INSERT INTO "last_passes" VALUES(1,'attempt-1','{"messages":["T1BUSU9OUyBzaXA6YSBTSVAvMi4wDQoNCg==","U0lQLzIuMCAyMDAgT0sNCg0K"],"packets":[[0.001,"out","198.51.100.7:5060",0],[0.012,"in","198.51.100.7:5060",1]]}');
CREATE TABLE maintenance (
        id TEXT PRIMARY KEY, scope TEXT NOT NULL, member TEXT NOT NULL,
        from_at REAL NOT NULL, until_at REAL NOT NULL, why TEXT NOT NULL, "by" TEXT NOT NULL
    ) STRICT;
INSERT INTO "maintenance" VALUES('5f2c09ab','firewall','fw-west',1718712000.0,1718719200.0,'CHG-123','ann');
CREATE TABLE outbox (
        no INTEGER PRIMARY KEY, sink TEXT NOT NULL, incident TEXT NOT NULL,
        status TEXT NOT NULL, at REAL NOT NULL, body TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0, detail TEXT NOT NULL DEFAULT '',
        told_at REAL, gone_at REAL
    ) STRICT;
INSERT INTO "outbox" VALUES(1,'webhook/a','incident-1','open',1718712010.0,'{"id":"incident-1","alertname":"CallsBlocked","severity":"page","vantage":"boston-a","scope":"firewall","member":"fw-east","psap":"","firewall":"fw-east","cause":"calls_blocked","summary":"10 of 10 test calls through fw-east failed","opened_at":1718712010.0,"first_failure_at":1718712000.0,"last_pass_at":1718711995.0,"closed_at":null,"changed_at":1718712010.0,"changes":0,"acknowledged":"","merged_into":"","affected":["ma-boston","ma-quincy"],"unaffected":[],"untested":[],"evidence":{"failed":10,"tried":10,"control":"pass"}}',0,'',NULL,NULL);
CREATE TABLE series (
        id INTEGER PRIMARY KEY,
        psap TEXT NOT NULL, path TEXT NOT NULL, firewall TEXT NOT NULL,
        transport TEXT NOT NULL, "check" TEXT NOT NULL, probe TEXT NOT NULL,
        UNIQUE (psap, path, "check", transport, firewall, probe)
    ) STRICT;
INSERT INTO "series" VALUES(1,'ma-boston','east','fw-east','udp','keepalive','options');
CREATE TABLE stops (
        psap TEXT PRIMARY KEY, reason TEXT NOT NULL, why TEXT NOT NULL, "by" TEXT NOT NULL,
        at REAL NOT NULL
    , firewall TEXT NOT NULL DEFAULT '') STRICT;
INSERT INTO "stops" VALUES('ma-boston','unsafe','somebody answered','psapwatch',1718712000.0,'fw-east');
CREATE INDEX attempts_by_series ON attempts (series, failed, started_at);
CREATE INDEX attempts_by_id ON attempts (id);
CREATE INDEX calls_open ON calls (psap) WHERE ended_at IS NULL;
CREATE INDEX attempts_by_call_id ON attempts (call_id);
CREATE INDEX calls_ended ON calls (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX incidents_by_time ON incidents (opened_at);
CREATE INDEX outbox_pending ON outbox (sink, no) WHERE told_at IS NULL AND gone_at IS NULL;
CREATE INDEX outbox_by_incident ON outbox (incident);
CREATE INDEX maintenance_by_end ON maintenance (until_at);
CREATE INDEX changes_by_time ON changes (at);
COMMIT;
