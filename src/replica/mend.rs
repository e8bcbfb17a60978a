//! Makes or mends the copy of one version at one provider. (seam; owner: the audit helper)
