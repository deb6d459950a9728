-- Files that came in a document: which one, and by which generation of it they came last.
create table attachments (
    document blob primary key,
    mail     blob not null,
    brought  integer not null
) strict;
create index attachments_by_mail on attachments (mail, document);
